type Labels = Readonly<Record<string, string>>

/** A number by labels, in the text format of Prometheus. */
interface Family {
  readonly name: string
  readonly help: string
  readonly type: 'counter' | 'gauge' | 'histogram'
  lines(): string[]
}

/** Something that only grows. */
export interface Counter {
  add(amount: number, labels?: Labels): void
}

/** How a quantity is distributed. */
export interface Histogram {
  observe(value: number): void
}

/** Numbers that `GET /metrics` shows: the text format of Prometheus, version 0.0.4. */
export class MetricsRegistry {
  readonly #families: Family[] = []

  counter(name: string, help: string): Counter {
    const values = new Map<string, number>()
    this.#families.push({ name, help, type: 'counter', lines: () => [...values].map(([labels, value]) => `${name}${labels} ${value}`) })
    return { add: (amount, labels = {}) => void values.set(written(labels), (values.get(written(labels)) ?? 0) + amount) }
  }

  /** A counter that something else keeps. @param read called for each answer */
  counterOf(name: string, help: string, read: () => number): void {
    this.#families.push({ name, help, type: 'counter', lines: () => [`${name} ${read()}`] })
  }

  /** @param read called for each answer */
  gauge(name: string, help: string, read: () => number | readonly (readonly [Labels, number])[]): void {
    const lines = () => {
      const value = read()
      return (typeof value === 'number' ? [[{}, value] as const] : value).map(([labels, part]) => `${name}${written(labels)} ${part}`)
    }
    this.#families.push({ name, help, type: 'gauge', lines })
  }

  /** @param bounds upper bounds of the buckets, ascending */
  histogram(name: string, help: string, bounds: readonly number[]): Histogram {
    const counts = bounds.map(() => 0)
    let count = 0
    let sum = 0
    const lines = () => [
      ...bounds.map((bound, i) => `${name}_bucket${written({ le: String(bound) })} ${counts[i]!}`),
      `${name}_bucket${written({ le: '+Inf' })} ${count}`,
      `${name}_sum ${sum}`,
      `${name}_count ${count}`,
    ]
    this.#families.push({ name, help, type: 'histogram', lines })
    return {
      observe: (value) => {
        count++
        sum += value
        bounds.forEach((bound, i) => (counts[i]! += value <= bound ? 1 : 0))
      },
    }
  }

  toString(): string {
    return this.#families
      .flatMap(({ name, help, type, lines }) => [`# HELP ${name} ${help}`, `# TYPE ${name} ${type}`, ...lines(), ''])
      .join('\n')
  }
}

function written(labels: Labels): string {
  const pairs = Object.entries(labels).map(
    ([name, value]) => `${name}="${value.replace(/["\\\n]/g, (c) => (c === '\n' ? '\\n' : `\\${c}`))}"`,
  )
  return pairs.length === 0 ? '' : `{${pairs.join(',')}}`
}
