import { describe } from '../errors.js'
import { nearestName } from '../options.js'
import { badField, HttpError } from './http-error.js'

/** A requirement on a number, in words and as a test. */
export interface Rule {
  readonly expected: string
  readonly fits: (value: number) => boolean
}

export function integerBetween(least: number, most: number): Rule {
  return {
    expected: `an integer from ${least} to ${most}`,
    fits: (value) => Number.isSafeInteger(value) && value >= least && value <= most,
  }
}

/**
 * Reads the fields of a JSON object. A field that is null counts as absent, as in OpenAI's interface; one that nothing
 * has read is refused by `refuseOthers`.
 */
export class Fields {
  readonly #values: Readonly<Record<string, unknown>>
  readonly #prefix: string
  readonly #known = new Set<string>()

  /**
   * @param prefix of the names in messages: '' for the body, 'stream_options.' for an object in it
   * @throws HttpError 400 unless it is an object
   */
  constructor(value: unknown, prefix = '') {
    if (typeof value !== 'object' || value === null || Array.isArray(value)) {
      const what = prefix === '' ? 'the body' : prefix.slice(0, -1)
      throw new HttpError(400, 'BAD_ARGUMENT', `${what} must be a JSON object, got ${describe(value)}`, {
        param: prefix === '' ? undefined : prefix.slice(0, -1),
      })
    }
    this.#values = value as Record<string, unknown>
    this.#prefix = prefix
  }

  /** The field, unless it is absent or null. */
  get(name: string): unknown {
    this.#known.add(name)
    return Object.hasOwn(this.#values, name) ? (this.#values[name] ?? undefined) : undefined
  }

  /** Fields that are accepted without effect. */
  ignore(...names: readonly string[]): void {
    for (const name of names) this.#known.add(name)
  }

  string(name: string): string | undefined {
    const value = this.get(name)
    return value === undefined || typeof value === 'string' ? value : this.refuse(name, value, 'a string')
  }

  boolean(name: string, ifAbsent = false): boolean {
    const value = this.get(name) ?? ifAbsent
    return typeof value === 'boolean' ? value : this.refuse(name, value, 'true or false')
  }

  number(name: string, { expected, fits }: Rule): number | undefined {
    const value = this.get(name)
    return value === undefined || (typeof value === 'number' && fits(value)) ? value : this.refuse(name, value, expected)
  }

  /** An object in the field. */
  object(name: string): Fields | undefined {
    const value = this.get(name)
    return value === undefined ? undefined : new Fields(value, `${this.#prefix}${name}.`)
  }

  /** @throws HttpError 400 that names the field, what was expected and what came */
  refuse(name: string, value: unknown, expected: string): never {
    const field = `${this.#prefix}${name}`
    throw badField(field, `${field} must be ${expected}, got ${describe(value)}`)
  }

  /** @throws HttpError 400 for a field that nothing has read */
  refuseOthers(): void {
    const unknown = Object.keys(this.#values).find((name) => !this.#known.has(name))
    if (unknown === undefined) return
    const nearest = nearestName(unknown, [...this.#known])
    const hint = nearest && nearest.distance <= nearest.length / 3 ? ` (did you mean '${nearest.name}'?)` : ''
    throw badField(`${this.#prefix}${unknown}`, `there is no field ${describe(`${this.#prefix}${unknown}`)} here${hint}`)
  }
}
