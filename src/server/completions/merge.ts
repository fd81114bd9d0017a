/**
 * Yields what several generators yield, as it comes. Each is at most one item ahead of the consumer. When one fails or the
 * consumer leaves, all are ended before it is reported.
 */
export async function* merge<T>(sources: readonly AsyncGenerator<T, void, undefined>[]): AsyncGenerator<T, void, undefined> {
  type Source = (typeof sources)[number]
  const pending = new Map<Source, Promise<{ source: Source; result: IteratorResult<T, void> }>>()
  const request = (source: Source) => {
    pending.delete(source) // those that came last are served last
    const next = source.next().then((result) => ({ source, result }))
    next.catch(() => {}) // it may fail before the consumer comes back to see
    pending.set(source, next)
  }
  for (const source of sources) request(source)
  try {
    while (pending.size > 0) {
      const { source, result } = await Promise.race(pending.values())
      if (result.done) pending.delete(source)
      else {
        request(source)
        yield result.value
      }
    }
  } finally {
    // a failure of these is that of the first, or of nobody's interest any more
    await Promise.allSettled([...pending.values()])
    await Promise.allSettled(sources.map((source) => source.return()))
  }
}
