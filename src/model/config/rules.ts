/** A constraint on an option's value. */
export interface Rule<Value> {
  /** The constraint in words that follow "must be". */
  readonly words: string
  /** What documentation adds to the type, in words; '' if nothing. */
  readonly range: string
  /** The TypeScript type. */
  readonly type: string
  /** @returns undefined for an invalid value */
  parse(value: unknown): Value | undefined
}

/** Far above any real size, yet low enough that the product of two is a safe integer. */
const MAX_SIZE = 2 ** 24

export function integer(from: number, to: number): Rule<number> {
  return {
    words: `an integer from ${from} to ${to}`,
    // a getter, because only the generator needs it: formatting it would slow down every start
    get range() {
      return to === MAX_SIZE ? `at least ${from}` : `from ${from} to ${to.toLocaleString('en')}`
    },
    type: 'number',
    // + 0 turns -0 into 0
    parse: (value) => (Number.isInteger(value) && (value as number) >= from && (value as number) <= to ? (value as number) + 0 : undefined),
  }
}

export const integers: Rule<readonly number[]> = {
  words: 'a list of integers, or null',
  range: '',
  type: 'readonly number[]',
  parse: (value) => (Array.isArray(value) && value.every(Number.isInteger) ? (value as number[]) : undefined),
}

/** A size or a count, up to 2^24. */
export function size(from = 1): Rule<number> {
  return integer(from, MAX_SIZE)
}

/** @param range the condition that `fits` checks, in words */
export function number(range: string, fits: (value: number) => boolean): Rule<number> {
  return {
    words: `a finite number, ${range}`,
    range,
    type: 'number',
    // kernels compute in float32, so the value must be finite there too
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
