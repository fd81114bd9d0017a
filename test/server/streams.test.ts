import { afterEach, describe, expect, test, vi } from 'vitest'
import { merge } from '../../src/server/completions/merge.js'
import { eventBody } from '../../src/server/event-body.js'
import { HttpError } from '../../src/server/http-error.js'
import { MetricsRegistry } from '../../src/server/metrics.js'
import { RateLimit } from '../../src/server/rate-limit.js'
import { sseEvent } from '../../src/server/reply.js'
import { Work } from '../../src/server/work.js'

afterEach(() => void vi.useRealTimers())

/** A generator that logs what happens to it. */
async function* steps(name: string, count: number, log: string[], failAt = -1): AsyncGenerator<string, void, undefined> {
  try {
    for (let i = 0; i < count; i++) {
      if (i === failAt) throw new Error(`${name} failed`)
      log.push(`${name}${i}`)
      yield `${name}${i}`
    }
  } finally {
    log.push(`${name} ended`)
  }
}

describe('merged generators', () => {
  test('yield everything, each in its order, none far ahead of the others or of the consumer', async () => {
    const log: string[] = []
    const seen: string[] = []
    for await (const item of merge([steps('a', 4, log), steps('b', 4, log)])) {
      seen.push(item)
      for (const name of ['a', 'b'])
        expect(log.filter((entry) => entry.startsWith(name)).length).toBeLessThanOrEqual(
          seen.filter((entry) => entry.startsWith(name)).length + 1,
        )
    }
    expect([...seen].sort()).toEqual(['a0', 'a1', 'a2', 'a3', 'b0', 'b1', 'b2', 'b3'])
    for (const name of ['a', 'b']) expect(seen.filter((entry) => entry.startsWith(name))).toEqual([0, 1, 2, 3].map((i) => `${name}${i}`))
    expect(seen.slice(0, 2).sort()).toEqual(['a0', 'b0'])
  })

  test('are all ended when one fails or the consumer stops', async () => {
    const log: string[] = []
    const failing = async () => {
      for await (const item of merge([steps('a', 9, log), steps('b', 9, log, 2)])) log.push(`got ${item}`)
    }
    await expect(failing()).rejects.toThrow('b failed')
    expect(log.filter((entry) => entry.endsWith('ended')).sort()).toEqual(['a ended', 'b ended'])
    log.length = 0
    for await (const item of merge([steps('a', 9, log), steps('b', 9, log)])) if (item) break
    expect(log.filter((entry) => entry.endsWith('ended')).sort()).toEqual(['a ended', 'b ended'])
  })
})

describe('a body of events', () => {
  const open = (events: AsyncIterator<string, unknown, undefined>, stallTimeout = 1000) => {
    const work = new Work().begin()
    const ends: unknown[] = []
    const reader = eventBody(events, work, stallTimeout, (error) => ends.push(error)).getReader()
    const next = async () => {
      const { done, value } = await reader.read()
      return done ? undefined : new TextDecoder().decode(value)
    }
    return { work, ends, reader, next }
  }

  test('computes an event on demand, and reports its end once', async () => {
    const log: string[] = []
    const { next, ends } = open(steps('a', 2, log))
    await new Promise((resolve) => setTimeout(resolve, 0))
    expect(log).toEqual([])
    expect([await next(), log.length]).toEqual(['a0', 1])
    expect([await next(), await next(), ends]).toEqual(['a1', undefined, [undefined]])
  })

  test('sends a comment while an event takes long, and then the event', async () => {
    vi.useFakeTimers()
    let resolve: (result: IteratorResult<string>) => void = () => {}
    const { next } = open({ next: () => new Promise((settle) => (resolve = settle)) })
    const first = next()
    await vi.advanceTimersByTimeAsync(15_000)
    expect(await first).toBe(': waiting\n\n')
    const second = next()
    await vi.advanceTimersByTimeAsync(14_000)
    resolve({ done: false, value: 'event' })
    expect(await second).toBe('event')
  })

  test('sends errors to the client as events', async () => {
    const { next, ends } = open(steps('a', 2, [], 1))
    expect([await next(), await next(), await next()]).toEqual([
      'a0',
      sseEvent({ error: { message: 'the server failed', type: 'server_error', param: null, code: 'INTERNAL' } }),
      undefined,
    ])
    expect(ends).toEqual([new Error('a failed')])
  })

  test('ends its iterator when the work is aborted between two events', async () => {
    const log: string[] = []
    const { work, next, ends } = open(steps('a', 5, log))
    await next()
    work.abort(new HttpError(503, 'CLOSING', 'closing'))
    expect(await next()).toMatch(/^data: \{"error":\{"message":"closing"/)
    expect(await next()).toBe(undefined)
    expect(log).toEqual(['a0', 'a ended'])
    expect(ends).toMatchObject([{ code: 'CLOSING' }])
  })

  test('ends its iterator when nobody reads', async () => {
    const log: string[] = []
    const { ends, next } = open(steps('a', 5, log), 20)
    await next()
    while (ends.length === 0) await new Promise((resolve) => setTimeout(resolve, 5))
    expect(ends).toMatchObject([{ code: 'TIMEOUT' }])
    expect(log).toEqual(['a0', 'a ended'])
  })
})

test('events have an id and a name where they are given', () => {
  expect(sseEvent({ a: 'x\ny' })).toBe('data: {"a":"x\\ny"}\n\n')
  expect(sseEvent('[DONE]', { id: '5', event: 'end' })).toBe('event: end\nid: 5\ndata: [DONE]\n\n')
})

test('a token bucket refills evenly, and forgets the least recent clients', () => {
  let now = 0
  const rate = new RateLimit(60, () => now)
  for (let i = 0; i < 60; i++) rate.take('a')
  expect(() => rate.take('a')).toThrow(/60 requests a minute/)
  now += 999
  expect(() => rate.take('a')).toThrow(expect.objectContaining({ headers: { 'retry-after': '1' } }) as Error)
  now += 2
  rate.take('a')
  expect(() => rate.take('a')).toThrow()
  for (let i = 0; i < 10_000; i++) rate.take(String(i))
  rate.take('a')
})

test('labels of metrics are escaped, and buckets count what is below', () => {
  const registry = new MetricsRegistry()
  registry.counter('c', 'A counter.').add(2, { route: 'a"b\\c\nd' })
  const histogram = registry.histogram('h', 'A histogram.', [1, 2])
  for (const value of [0.5, 1, 1.5, 9]) histogram.observe(value)
  expect(registry.toString()).toBe(
    [
      ...['# HELP c A counter.', '# TYPE c counter', 'c{route="a\\"b\\\\c\\nd"} 2', ''],
      ...[
        '# HELP h A histogram.',
        '# TYPE h histogram',
        'h_bucket{le="1"} 2',
        'h_bucket{le="2"} 3',
        'h_bucket{le="+Inf"} 4',
        'h_sum 12',
        'h_count 4',
        '',
      ],
    ].join('\n'),
  )
})
