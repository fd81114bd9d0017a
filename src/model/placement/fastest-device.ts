import type { Device } from '../../device/device.js'
import { ResourceScope } from '../../device/resource-scope.js'
import type { Runtime } from '../../device/runtime.js'
import type { Installation } from './device-placement.js'

/** How to compare devices. */
export interface Comparison<T extends Installation> {
  install(device: Device): T | Promise<T>
  /** Measures some work on a device, in milliseconds. */
  time(installed: T): Promise<number>
  /** Description of the work, for messages, such as 'a token'. */
  readonly work: string
  /** Throws if the comparison should end. */
  check(): void
}

/**
 * Installs on each device the runtime offers, and keeps the one where the work was fastest. A device that fails is
 * skipped, unless it is the last one. If there is only one, nothing is timed.
 * @throws whatever `check` or the only device threw; nothing remains installed then
 */
export async function installOnFastest<T extends Installation>(runtime: Runtime, comparison: Comparison<T>): Promise<T> {
  const { candidates } = runtime
  if (candidates.length === 1) return comparison.install(candidates[0]!)
  let best: Timed<T> | undefined
  const times: string[] = []
  for (const device of candidates) {
    try {
      const timed = await installAndTime(device, comparison)
      times.push(`${timed.time.toFixed(2)} ms on ${device.name}`)
      const isBetter = !best || timed.time < best.time
      const beaten = isBetter ? best : timed
      if (isBetter) best = timed
      beaten?.installed.dispose()
    } catch (error) {
      try {
        comparison.check()
        if (!best && !runtime.isReplaceable(device)) throw error
      } catch (reason) {
        best?.installed.dispose()
        throw reason
      }
      times.push(`${device.name}: ${(error as Error).message}`)
    }
  }
  const { installed } = best!
  runtime.commitTo(installed.device, `slower here: ${comparison.work} took ${times.join(', ')}`)
  return installed
}

interface Timed<T> {
  readonly installed: T
  readonly time: number
}

async function installAndTime<T extends Installation>(device: Device, { install, time }: Comparison<T>): Promise<Timed<T>> {
  const scope = new ResourceScope(device)
  try {
    const installed = scope.use(await install(device))
    const timed = { installed, time: await time(installed) }
    scope.move()
    return timed
  } finally {
    scope.dispose()
  }
}
