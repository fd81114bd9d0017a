import type { Versions } from './contenders.js'
import type { Environment } from './figures.js'

interface Brand {
  readonly brand: string
  readonly version: string
}

/** What Chromium has and TypeScript does not know. */
type WithHints = Navigator & {
  readonly userAgentData?: { getHighEntropyValues(hints: readonly string[]): Promise<{ fullVersionList?: readonly Brand[] }> }
}

export async function environmentOf(threads: number, versions: Versions): Promise<Environment> {
  return {
    browser: await browserName(),
    cores: navigator.hardwareConcurrency,
    threads,
    isolated: crossOriginIsolated,
    versions,
    date: new Date().toISOString().slice(0, 10),
  }
}

async function browserName(): Promise<string> {
  const hints = await (navigator as WithHints).userAgentData?.getHighEntropyValues(['fullVersionList']).catch(() => undefined)
  // one of the brands is no browser (“Not A Brand”), so that nobody relies on their order; Chromium stands beside what is built on it
  const brands = (hints?.fullVersionList ?? []).filter(({ brand }) => !brand.startsWith('Not'))
  const brand = brands.find((one) => one.brand !== 'Chromium') ?? brands[0]
  return brand ? `${brand.brand} ${brand.version}` : nameIn(navigator.userAgent)
}

/** Browser and version of a user agent's text, as far as they can be told. */
export function nameIn(userAgent: string): string {
  const safari = /Version\/(\S+).* Safari\//.exec(userAgent)
  if (safari) return `Safari ${safari[1]}`
  const [, name, version] = /(Firefox|Edg|Chrome)\/(\S+)/.exec(userAgent) ?? []
  return name ? `${name === 'Edg' ? 'Edge' : name} ${version}` : userAgent
}
