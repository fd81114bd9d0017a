import { median, medianRatio } from '../../../../bench/lib/statistics.mjs'
import type { Versions } from './contenders.js'

/** What one contender needed, in each round. */
export interface Row {
  readonly name: string
  /** Whose row it is compared with; undefined for ours. */
  readonly against: string | undefined
  readonly seconds: readonly number[]
  /** Why there are no figures, or no more. */
  readonly problem: string
}

/** One thing that all contenders did. */
export interface Measurement {
  readonly title: string
  /** Tokens that one time stands for. */
  readonly tokens: number
  /** What a time is of: “a forward”. */
  readonly each: string
  readonly rows: readonly Row[]
  /** Whether outputs agree, in words; empty where there is nothing to compare. */
  readonly agreement: string
}

/** Where figures come from, without which they mean nothing. */
export interface Environment {
  readonly browser: string
  readonly cores: number
  readonly threads: number
  readonly isolated: boolean
  readonly versions: Versions
  readonly date: string
}

/** Tokens a second, and how many times as fast ours is. */
export interface Figures {
  readonly rounds: number
  readonly median: number
  readonly slowest: number
  readonly fastest: number
  readonly milliseconds: number
  /** Median of the rounds' own ratios; NaN for ours. */
  readonly ratio: number
}

/** The figures of a row; undefined if it has none. */
export function figuresOf({ tokens, rows }: Measurement, { seconds, against }: Row): Figures | undefined {
  const measured = seconds.filter(Number.isFinite)
  if (measured.length === 0) return undefined
  const other = rows.find(({ name }) => name === against)?.seconds ?? []
  const rounds = seconds.flatMap((theirs, round) => {
    const mine = other[round] ?? NaN
    return Number.isFinite(theirs) && Number.isFinite(mine) ? [{ theirs, mine }] : []
  })
  return {
    rounds: measured.length,
    median: tokens / median(measured),
    slowest: tokens / Math.max(...measured),
    fastest: tokens / Math.min(...measured),
    milliseconds: median(measured) * 1000,
    ratio: medianRatio(
      rounds.map(({ theirs }) => theirs),
      rounds.map(({ mine }) => mine),
    ),
  }
}

/** The environment in one line. */
export function environmentInWords({ browser, cores, threads, isolated, versions, date }: Environment): string {
  const rivals = Object.entries(versions).map(([name, version]) => `${name} ${version ?? 'absent'}`)
  return [
    browser,
    `${cores} ${cores === 1 ? 'core' : 'cores'}`,
    threads === 1 ? 'one thread each' : `${threads} threads each`,
    isolated ? 'isolated from other origins' : 'not isolated from other origins',
    ...rivals,
    date,
  ].join('; ')
}
