import { parseArgs } from 'node:util'
import { nearestName } from '../options.js'
import { UsageError } from './failures.js'

/** One option of a command: its syntax, its help, and how its value is read. */
export interface CommandOption<T> {
  /** Placeholder of the value in the help; flags have none. */
  readonly placeholder?: string
  readonly help: string
  readonly repeatable?: boolean
  /**
   * @param given the values in order; for a flag, `['']` if it was given
   * @throws UsageError
   */
  readonly read: (given: readonly string[], name: string) => T
}

export type OptionTable = Readonly<Record<string, CommandOption<unknown>>>

export type OptionValues<Table extends OptionTable> = {
  readonly [Name in keyof Table]: Table[Name] extends CommandOption<infer T> ? T : never
}

export function flag(help: string): CommandOption<boolean> {
  return { help, read: (given) => given.length > 0 }
}

/** An option with a text value, which may be empty. */
export function anyText(placeholder: string, help: string): CommandOption<string | undefined> {
  return { placeholder, help, read: (given) => given.at(-1) }
}

export function text(placeholder: string, help: string): CommandOption<string | undefined> {
  return { placeholder, help, read: (given, name) => withoutEmpty(given, name).at(-1) }
}

/** An option that may be repeated. */
export function texts(placeholder: string, help: string): CommandOption<string[]> {
  return { placeholder, help, repeatable: true, read: withoutEmpty }
}

function withoutEmpty(given: readonly string[], name: string): string[] {
  if (given.includes('')) throw new UsageError(`--${name} takes a non-empty text`)
  return [...given]
}

export function choice<const Values extends readonly string[]>(values: Values, help: string): CommandOption<Values[number] | undefined> {
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

/** A requirement on a number, in words and as a test. */
export interface NumberRule {
  readonly expected: string
  readonly fits: (value: number) => boolean
}

export function integerFrom(least: number): NumberRule {
  return { expected: `an integer from ${least}`, fits: (value) => Number.isSafeInteger(value) && value >= least }
}

export const anyNumber: NumberRule = { expected: 'a number', fits: () => true }

export function number({ expected, fits }: NumberRule, help: string): CommandOption<number | undefined> {
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
 * @throws UsageError for an option that is unknown, lacks its value or has an invalid one
 */
export function parseOptions<Table extends OptionTable>(
  args: readonly string[],
  table: Table,
): { values: OptionValues<Table>; positionals: string[] } {
  const options = Object.entries(table).map(
    ([name, { placeholder }]) => [name, { type: placeholder === undefined ? 'boolean' : 'string', multiple: true }] as const,
  )
  // Errors are reported here, with advice.
  const { tokens, positionals } = parseArgs({
    args: [...args],
    options: Object.fromEntries(options),
    allowPositionals: true,
    strict: false,
    tokens: true,
  })
  const given = new Map<string, string[]>()
  for (const token of tokens) {
    if (token.kind !== 'option') continue
    const { name, rawName, value, inlineValue } = token
    if (rawName !== `--${name}` || !Object.hasOwn(table, name)) throw unknownOption(rawName, Object.keys(table))
    checkValue(rawName, value, inlineValue === true, table[name]!.placeholder)
    given.set(name, [...(given.get(name) ?? []), value ?? ''])
  }
  const values = Object.entries(table).map(([name, option]) => [name, option.read(given.get(name) ?? [], name)])
  return { values: Object.fromEntries(values) as OptionValues<Table>, positionals }
}

function unknownOption(given: string, names: readonly string[]): UsageError {
  const nearest = nearestName(given.replace(/^-+/, ''), names)
  const isNear = nearest !== undefined && nearest.distance <= nearest.length / 2
  return new UsageError(`unknown option ${given}${isNear ? ` (did you mean --${nearest.name}?)` : ''}`)
}

/** A value that begins with a dash is probably the next option, unless it is a number or the dash alone. */
function checkValue(option: string, value: string | undefined, isInline: boolean, placeholder: string | undefined): void {
  if (placeholder === undefined) {
    if (value !== undefined) throw new UsageError(`${option} takes no value; got ${JSON.stringify(value)}`)
  } else if (value === undefined) {
    throw new UsageError(`${option} lacks its value: ${option} ${placeholder}`)
  } else if (!isInline && /^-[^\d.]/.test(value)) {
    throw new UsageError(`${option} lacks its value; write a value that begins with a dash as ${option}=${value}`)
  }
}

/** The options as listed in the help. */
export function describeOptions(table: OptionTable): string {
  const rows = [...Object.entries(table), ['help', flag('Print this help.')] as const].map(([name, option]) => {
    const { placeholder, help, repeatable } = option
    return [`--${name}${placeholder === undefined ? '' : ` ${placeholder}`}`, repeatable ? `${help} May be repeated.` : help] as const
  })
  const width = Math.max(...rows.map(([usage]) => usage.length))
  return rows.map(([usage, help]) => `  ${usage.padEnd(width)}  ${help}`).join('\n')
}
