import { type Device, float32Values } from '../../device/device.js'
import type { Runtime } from '../../device/runtime.js'
import type { LayerParameters } from '../../plan/layer-plan.js'
import { Tensor } from '../../tensor.js'
import { SharedWeights } from '../parameters/shared-weights.js'

export type LayerValues = ReadonlyMap<string, Tensor>

/** Packed weights on one device. */
export interface Installed {
  readonly device: Device
  readonly weights: SharedWeights
}

/** Where a layer lives: on the device that it was put on, until that is lost and the runtime has another. */
export class LayerPlacement {
  readonly #runtime: Runtime
  readonly #parameters: LayerParameters
  #installed: Installed
  /** Kept only where the weights may have to be packed again, or elsewhere. */
  #values: LayerValues | undefined
  /** Until it is known which of the runtime's devices is quickest. */
  #deciding: Promise<void> | undefined
  #chosen: boolean

  /**
   * @param make called once the device has room for the values: too large a layer fails before its parameters are drawn
   */
  constructor(runtime: Runtime, parameters: LayerParameters, make: () => LayerValues) {
    this.#runtime = runtime
    this.#parameters = parameters
    this.#chosen = runtime.candidates.length === 1
    this.#installed = this.#install(runtime.device, make)
  }

  #install(device: Device, make: () => LayerValues): Installed {
    let values: LayerValues | undefined
    const buffer = device.packWeights(this.#parameters.layout, (name) => float32Values((values ??= make()).get(name)!.data))
    // the caller's tensors may change
    if (this.#runtime.isReplaceable(device) && values)
      this.#values = new Map([...values].map(([name, { data, shape }]) => [name, new Tensor(data.slice(), shape)]))
    return { device, weights: new SharedWeights(buffer) }
  }

  /** Packs other values; work begun before ends with the old ones. */
  replace(values: LayerValues): void {
    this.#adopt(this.#install(this.#device, () => values))
  }

  #adopt(installed: Installed): void {
    this.#installed.weights.release()
    this.#installed = installed
  }

  /**
   * Whether a forward's device is known and takes its inputs at once: one whose memory fails later has to be given them
   * again.
   */
  get readsAtOnce(): boolean {
    return this.#chosen && this.#runtime.isHere(this.#device)
  }

  get #device(): Device {
    const { device } = this.#installed
    return this.#runtime.isStale(device) ? this.#runtime.device : device
  }

  /** What a forward runs with: retained, to be released by the caller. */
  take(): Installed {
    const device = this.#device
    if (device !== this.#installed.device) this.#move(device)
    const { weights } = this.#installed
    return { device, weights: weights.retain() }
  }

  #move(device: Device): void {
    this.#adopt(this.#install(device, () => this.#values!))
  }

  /**
   * Where there is a choice of devices, takes the quickest, once.
   * @param time milliseconds that a forward takes
   */
  chooseDevice(time: (installed: Installed) => Promise<number>): Promise<void> | undefined {
    if (this.#chosen) return undefined
    this.#deciding ??= this.#chooseDevice(time).finally(() => {
      this.#chosen = true
      this.#deciding = undefined
    })
    return this.#deciding
  }

  async #chooseDevice(time: (installed: Installed) => Promise<number>): Promise<void> {
    let best: { installed: Installed; values: LayerValues | undefined; time: number } | undefined
    const times: string[] = []
    try {
      for (const device of this.#runtime.candidates) {
        const values = this.#values
        const { weights } = device === this.#installed.device ? this.take() : this.#install(device, () => values!)
        let beaten: SharedWeights | undefined = weights
        try {
          const taken = await time({ device, weights })
          times.push(`${taken.toFixed(2)} ms on ${device.name}`)
          if (!best || taken < best.time) {
            beaten = best?.installed.weights
            best = { installed: { device, weights }, values, time: taken }
          }
        } catch (error) {
          if (!this.#runtime.isReplaceable(device)) throw error
          times.push(`${device.name}: ${(error as Error).message}`)
        } finally {
          beaten?.release()
        }
      }
      const { installed, values } = best!
      if (installed.device !== this.#installed.device) {
        // unless the layer was given others meanwhile
        if (values === this.#values) this.#adopt({ ...installed, weights: installed.weights.retain() })
        else this.#move(installed.device)
      }
      this.#runtime.commitTo(installed.device, `slower here: a forward took ${times.join(', ')}`)
    } finally {
      best?.installed.weights.release()
    }
  }

  dispose(): void {
    this.#installed.weights.release()
  }
}
