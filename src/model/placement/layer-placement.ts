import { type Device, type DeviceBuffer, float32Values } from '../../device/device.js'
import type { Runtime } from '../../device/runtime.js'
import type { StandaloneWeights } from '../../plan/memory/standalone-weights.js'
import { Tensor } from '../../tensor.js'
import { DevicePlacement, type Installation } from './device-placement.js'
import { type Comparison, installOnFastest } from './fastest-device.js'

export type LayerValues = ReadonlyMap<string, Tensor>

/** A layer's weights, packed on one device. Forward passes may still use them after the layer has released them. */
export class InstalledLayer implements Installation {
  readonly device: Device
  readonly weights: DeviceBuffer
  /** The unpacked values; kept only if they may have to be packed again on another device. */
  readonly values: LayerValues | undefined
  #holders = 1

  constructor(device: Device, weights: DeviceBuffer, values: LayerValues | undefined) {
    this.device = device
    this.weights = weights
    this.values = values
  }

  /** Adds a holder, who must dispose of it too. */
  retain(): this {
    this.#holders++
    return this
  }

  dispose(): void {
    if (--this.#holders === 0) this.weights.dispose()
  }
}

/** The placement of a layer, which is installed on a device when created, and compares devices at its first forward. */
export class LayerPlacement {
  readonly #runtime: Runtime
  readonly #parameters: StandaloneWeights
  readonly #placement: DevicePlacement<InstalledLayer>
  /** Pending until the fastest of the runtime's devices is known. */
  #choosing: Promise<void> | undefined
  #isChosen: boolean

  /**
   * @param make called once the device has room for the values, so that a layer that is too large fails before its
   * parameters are drawn
   */
  constructor(runtime: Runtime, parameters: StandaloneWeights, make: () => LayerValues) {
    this.#runtime = runtime
    this.#parameters = parameters
    this.#isChosen = runtime.candidates.length === 1
    const installed = this.#install(runtime.device, make)
    this.#placement = new DevicePlacement(runtime, installed, (device, lost) => this.#reinstall(device, lost))
  }

  #install(device: Device, make: () => LayerValues): InstalledLayer {
    let values: LayerValues | undefined
    const weights = this.#pack(device, (name) => (values ??= make()).get(name)!)
    // the caller's tensors may change
    const own =
      this.#runtime.isReplaceable(device) && values
        ? new Map([...values].map(([name, { data, shape }]) => [name, new Tensor(data.slice(), shape)]))
        : undefined
    return new InstalledLayer(device, weights, own)
  }

  #reinstall(device: Device, { values }: InstalledLayer): InstalledLayer {
    return new InstalledLayer(
      device,
      this.#pack(device, (name) => values!.get(name)!),
      values,
    )
  }

  #pack(device: Device, valueOf: (name: string) => Tensor): DeviceBuffer {
    return device.packWeights(this.#parameters.layout, (name) => float32Values(valueOf(name).data))
  }

  /** Packs other values; work already in progress finishes with the old ones. */
  replace(values: LayerValues): void {
    this.#placement.replace(this.#install(this.#placement.device, () => values))
  }

  /**
   * Whether the device of a forward is known and accepts its inputs synchronously; a device whose memory may fail later
   * must be given them again.
   */
  get readsAtOnce(): boolean {
    return this.#isChosen && this.#runtime.isHere(this.#placement.device)
  }

  /** The installation for one forward; the caller must dispose of it. */
  take(): InstalledLayer {
    return this.#placement.current.retain()
  }

  /**
   * If there is a choice of devices, chooses the fastest, once.
   * @param time measures a forward in milliseconds
   * @param check throws once the result is no longer needed
   */
  chooseDevice(time: Comparison<InstalledLayer>['time'], check: () => void): Promise<void> | undefined {
    if (this.#isChosen) return undefined
    this.#choosing ??= this.#chooseDevice(time, check).finally(() => {
      this.#isChosen = true
      this.#choosing = undefined
    })
    return this.#choosing
  }

  async #chooseDevice(time: Comparison<InstalledLayer>['time'], check: () => void): Promise<void> {
    const placement = this.#placement
    const fastest = await installOnFastest(this.#runtime, {
      install: (device) => (device === placement.current.device ? this.take() : this.#reinstall(device, placement.current)),
      time,
      work: 'a forward',
      check,
    })
    const { current } = placement
    // the layer may have been given other values in the meantime
    if (current.device === fastest.device) fastest.dispose()
    else if (current.values === fastest.values) placement.replace(fastest)
    else {
      fastest.dispose()
      placement.replace(this.#reinstall(fastest.device, current))
    }
  }

  dispose(): void {
    this.#placement.dispose()
  }
}
