/** What the value of an option must be. */
export interface Rule<Value> {
  /** In words, after "must be". */
  readonly words: string
  /** What documents add to the type, in words; '' where there is nothing to add. */
  readonly range: string
  /** The values as TypeScript writes them. */
  readonly type: string
  /** @returns undefined for a value that does not fit */
  parse(value: unknown): Value | undefined
}

/** Far above any real size, and so low that a sum of two or a product of two stays a safe integer. */
const MAX_SIZE = 2 ** 24

export function integer(from: number, to: number): Rule<number> {
  return {
    words: `an integer from ${from} to ${to}`,
    // for documents alone: not made at each start
    get range() {
      return to === MAX_SIZE ? `at least ${from}` : `from ${from} to ${to.toLocaleString('en')}`
    },
    type: 'number',
    // never -0
    parse: (value) => (Number.isInteger(value) && (value as number) >= from && (value as number) <= to ? (value as number) + 0 : undefined),
  }
}

export const integers: Rule<readonly number[]> = {
  words: 'a list of integers, or null',
  range: '',
  type: 'readonly number[]',
  parse: (value) => (Array.isArray(value) && value.every(Number.isInteger) ? (value as number[]) : undefined),
}

/** A number of things, up to 2^24. */
export function size(from = 1): Rule<number> {
  return integer(from, MAX_SIZE)
}

/** @param range what `fits` asks of a finite number, in words */
export function number(range: string, fits: (value: number) => boolean): Rule<number> {
  return {
    words: `a finite number, ${range}`,
    range,
    type: 'number',
    // Finite in float32 as well: that is what the kernels compute in.
    parse: (value) => (typeof value === 'number' && Number.isFinite(Math.fround(value)) && fits(value) ? value : undefined),
  }
}

export const boolean: Rule<boolean> = {
  words: 'true or false',
  range: '',
  type: 'boolean',
  parse: (value) => (typeof value === 'boolean' ? value : undefined),
}

export function choice<const T extends string>(...choices: readonly T[]): Rule<T> {
  const words = choices.map((choice) => `'${choice}'`)
  return {
    words: words.join(' or '),
    range: words.join(' or '),
    type: words.join(' | '),
    parse: (value) => choices.find((choice) => choice === value),
  }
}
