import { parseArgs } from 'node:util'
import { UsageError } from './failures.js'

/** One option of a command: how it is given, what the help says of it, and the value it becomes. */
export interface Option<T> {
  /** Stands for the value in the help; a flag has none. */
  readonly placeholder?: string
  readonly help: string
  readonly repeatable?: boolean
  /**
   * @param given the values in their order; of a flag, `['']` when it was given
   * @throws UsageError
   */
  readonly read: (given: readonly string[], name: string) => T
}

export type OptionTable = Readonly<Record<string, Option<unknown>>>

export type OptionValues<Table extends OptionTable> = { readonly [Name in keyof Table]: Table[Name] extends Option<infer T> ? T : never }

export function flag(help: string): Option<boolean> {
  return { help, read: (given) => given.length > 0 }
}

/** An option with a text as its value, which may be empty. */
export function anyText(placeholder: string, help: string): Option<string | undefined> {
  return { placeholder, help, read: (given) => given.at(-1) }
}

export function text(placeholder: string, help: string): Option<string | undefined> {
  return { placeholder, help, read: (given, name) => withoutEmpty(given, name).at(-1) }
}

/** An option that may be given several times. */
export function texts(placeholder: string, help: string): Option<string[]> {
  return { placeholder, help, repeatable: true, read: withoutEmpty }
}

function withoutEmpty(given: readonly string[], name: string): string[] {
  if (given.includes('')) throw new UsageError(`--${name} takes a text that is not empty`)
  return [...given]
}

export function choice<const Values extends readonly string[]>(values: Values, help: string): Option<Values[number] | undefined> {
  return {
    placeholder: values.join('|'),
    help,
    read: (given, name) => {
      const value = given.at(-1)
      if (value === undefined || values.includes(value)) return value
      throw new UsageError(`--${name} takes ${values.join(', ')}; got ${JSON.stringify(value)}`)
    },
  }
}

/** What a number must be, in words and as a test. */
export interface NumberRule {
  readonly expected: string
  readonly fits: (value: number) => boolean
}

export function integerFrom(least: number): NumberRule {
  return { expected: `an integer from ${least}`, fits: (value) => Number.isSafeInteger(value) && value >= least }
}

export const anyNumber: NumberRule = { expected: 'a number', fits: () => true }

export function number({ expected, fits }: NumberRule, help: string): Option<number | undefined> {
  return {
    placeholder: 'N',
    help,
    read: (given, name) => {
      const value = given.at(-1)
      if (value === undefined) return undefined
      const number = Number(value)
      if (value.trim() === '' || !Number.isFinite(number) || !fits(number)) {
        throw new UsageError(`--${name} takes ${expected}; got ${JSON.stringify(value)}`)
      }
      return number
    },
  }
}

/**
 * Reads a command's arguments.
 * @throws UsageError for an option that is unknown, lacks its value or has one that does not fit
 */
export function parseOptions<Table extends OptionTable>(
  args: readonly string[],
  table: Table,
): { values: OptionValues<Table>; positionals: string[] } {
  const options = Object.entries(table).map(
    ([name, { placeholder }]) => [name, { type: placeholder === undefined ? 'boolean' : 'string', multiple: true }] as const,
  )
  let parsed: { values: Record<string, unknown>; positionals: string[] }
  try {
    parsed = parseArgs({ args: [...args], options: Object.fromEntries(options), allowPositionals: true })
  } catch (cause) {
    throw new UsageError(cause instanceof Error ? cause.message : String(cause), { cause })
  }
  const values = Object.entries(table).map(([name, option]) => {
    const given = (parsed.values[name] ?? []) as readonly (string | boolean)[]
    return [
      name,
      option.read(
        given.map((value) => (typeof value === 'string' ? value : '')),
        name,
      ),
    ]
  })
  return { values: Object.fromEntries(values) as OptionValues<Table>, positionals: parsed.positionals }
}

/** The options as the help lists them. */
export function describeOptions(table: OptionTable): string {
  const rows = [...Object.entries(table), ['help', flag('Print this help.')] as const].map(([name, option]) => {
    const { placeholder, help, repeatable } = option
    return [`--${name}${placeholder === undefined ? '' : ` ${placeholder}`}`, repeatable ? `${help} May be repeated.` : help] as const
  })
  const width = Math.max(...rows.map(([usage]) => usage.length))
  return rows.map(([usage, help]) => `  ${usage.padEnd(width)}  ${help}`).join('\n')
}
