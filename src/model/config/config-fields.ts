import { describe, RoutedAttentionError } from '../../errors.js'
import { isStated } from './config-keys.js'

/** The values of an options object or of config.json, each checked as it is read. Only own properties count. */
export class ConfigFields {
  constructor(
    private readonly record: Record<string, unknown>,
    private readonly where: string,
    private readonly spell: (name: string) => string,
  ) {}

  name(key: string): string {
    return `${this.where}${this.spell(key)}`
  }

  isStated(key: string): boolean {
    return isStated(this.record, this.spell(key))
  }

  isNullOrAbsent(key: string): boolean {
    return this.value(key, null) === null
  }

  integer(key: string, minimum: number, maximum: number, fallback?: number): number {
    const value = this.value(key, fallback)
    if (!Number.isInteger(value) || (value as number) < minimum || (value as number) > maximum) {
      throw this.unfit(key, `an integer from ${minimum} to ${maximum}`, value)
    }
    return (value as number) + 0 // never -0
  }

  number(key: string, expected: string, fits: (value: number) => boolean, fallback: number): number {
    const value = this.value(key, fallback)
    // Finite in float32 as well: that is what the kernels compute in.
    if (typeof value !== 'number' || !Number.isFinite(Math.fround(value)) || !fits(value))
      throw this.unfit(key, `a finite number, ${expected}`, value)
    return value
  }

  boolean(key: string, fallback: boolean): boolean {
    const value = this.value(key, fallback)
    if (typeof value !== 'boolean') throw this.unfit(key, 'true or false', value)
    return value
  }

  choice<T extends string>(key: string, choices: readonly T[], fallback: T): T {
    const value = this.value(key, fallback)
    const found = choices.find((choice) => choice === value)
    if (found === undefined) throw this.unfit(key, choices.map((choice) => `'${choice}'`).join(' or '), value)
    return found
  }

  private value(key: string, fallback?: unknown): unknown {
    if (this.isStated(key)) return this.record[this.spell(key)]
    if (fallback === undefined) throw badConfig(`${this.name(key)} is missing`)
    return fallback
  }

  private unfit(key: string, expected: string, value: unknown): RoutedAttentionError {
    return badConfig(`${this.name(key)} must be ${expected}; got ${describe(value)}`)
  }
}

export function badConfig(message: string): RoutedAttentionError {
  return new RoutedAttentionError('BAD_CONFIG', message)
}
