import { describe, RoutedAttentionError } from '../../errors.js'

/** Maximum length of affixes and the like: in real files, text inserted before every character is short. */
const MAX_AFFIX = 256

/**
 * A part of tokenizer.json whose fields are checked as they are read. Missing fields have the defaults of Hugging
 * Face's library. Every method throws RoutedAttentionError `BAD_FILE` for invalid values.
 */
export class Component {
  /** Its `type`; empty if it has none. */
  readonly type: string

  private constructor(
    private readonly fields: Record<string, unknown>,
    readonly path: string,
  ) {
    this.type = fields.type === undefined ? '' : this.string('type')
  }

  static of(json: unknown, path: string): Component {
    if (!isRecord(json)) throw broken(`must have an object as ${path}, got ${describe(json)}`)
    return new Component(json, path)
  }

  /** For messages: its location and type. */
  get name(): string {
    return this.type === '' ? this.path : `${this.path} (${this.type})`
  }

  value(field: string): unknown {
    return Object.hasOwn(this.fields, field) ? this.fields[field] : undefined
  }

  isNullOrAbsent(field: string): boolean {
    return (this.value(field) ?? null) === null
  }

  string(field: string, fallback?: string): string {
    const value = this.value(field) ?? fallback
    if (typeof value !== 'string') throw this.unfit(field, 'a text', value)
    return value
  }

  /** A text that is added before or after others. */
  affix(field: string, fallback = ''): string {
    const value = this.string(field, fallback)
    if (value.length > MAX_AFFIX) throw this.unfit(field, `a text of at most ${MAX_AFFIX} characters`, value)
    return value
  }

  character(field: string, fallback?: string): string {
    const value = this.string(field, fallback)
    if (value === '' || value.length > (value.codePointAt(0)! > 0xffff ? 2 : 1)) throw this.unfit(field, 'one character', value)
    return value
  }

  boolean(field: string, fallback: boolean): boolean {
    const value = this.value(field) ?? fallback
    if (typeof value !== 'boolean') throw this.unfit(field, 'true or false', value)
    return value
  }

  integer(field: string, minimum: number, fallback: number): number {
    const value = this.value(field) ?? fallback
    if (!Number.isSafeInteger(value) || (value as number) < minimum) throw this.unfit(field, `an integer from ${minimum}`, value)
    return value as number
  }

  choice<T extends string>(field: string, choices: readonly T[], fallback: T): T {
    const value = this.value(field) ?? fallback
    const found = choices.find((choice) => choice === value)
    if (found === undefined) throw this.unfit(field, choices.join(', '), value)
    return found
  }

  child(field: string): Component {
    return Component.of(this.value(field), `${this.path}.${field}`)
  }

  children(field: string): Component[] {
    const value = this.value(field)
    if (!Array.isArray(value)) throw this.unfit(field, 'a list', value)
    return (value as unknown[]).map((item, index) => Component.of(item, `${this.path}.${field}[${index}]`))
  }

  unfit(field: string, expected: string, got: unknown): RoutedAttentionError {
    return broken(`must have ${expected} as ${field} of ${this.name}, got ${describe(got)}`)
  }

  /** The error for a type that Hugging Face's library does not know either. */
  unknown(): RoutedAttentionError {
    return broken(`has ${this.path} of an unknown type, ${describe(this.value('type'))}`)
  }

  /** The error for something that Hugging Face's library supports and this package does not. */
  unsupported(why: string): RoutedAttentionError {
    return unsupported(`${this.name} ${why}`)
  }
}

export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

export function broken(why: string): RoutedAttentionError {
  return new RoutedAttentionError('BAD_FILE', `tokenizer.json ${why}`)
}

export function unsupported(why: string): RoutedAttentionError {
  return new RoutedAttentionError('UNSUPPORTED', `tokenizer.json: ${why}`)
}
