/** Maximum number of passes per reading. */
const MAX_PASSES = 2048

/**
 * Reads a GPU's clock around what a device encodes: wraps its command encoders, so that what is measured is the code
 * that users run. A device must have the feature timestamp-query.
 */
export class GpuClock {
  #device
  #queries
  #resolved
  #readable
  #names = []
  /** Whether each dispatch is its own pass, timed under its pipeline's name. */
  #apart = false
  #on = false

  constructor(device) {
    this.#device = device
    this.#queries = device.createQuerySet({ type: 'timestamp', count: 2 * MAX_PASSES })
    this.#resolved = device.createBuffer({ size: 16 * MAX_PASSES, usage: 0x200 | 0x4 })
    this.#readable = device.createBuffer({ size: 16 * MAX_PASSES, usage: 0x1 | 0x8 })
    const createCommandEncoder = device.createCommandEncoder.bind(device)
    device.createCommandEncoder = (descriptor) => {
      const encoder = createCommandEncoder(descriptor)
      if (!this.#on) return encoder
      const beginComputePass = encoder.beginComputePass.bind(encoder)
      encoder.beginComputePass = () => (this.#apart ? this.#passes(beginComputePass) : beginComputePass(this.#next('run')))
      return encoder
    }
  }

  #next(name) {
    const index = this.#names.push(name) - 1
    if (index >= MAX_PASSES) throw new Error('more passes than the clock can time')
    return { timestampWrites: { querySet: this.#queries, beginningOfPassWriteIndex: 2 * index, endOfPassWriteIndex: 2 * index + 1 } }
  }

  /** A pass that begins a new one for each dispatch. */
  #passes(begin) {
    let pipeline
    let binding
    return {
      setPipeline: (next) => (pipeline = next),
      setBindGroup: (...next) => (binding = next),
      dispatchWorkgroups: (...counts) => {
        const pass = begin(this.#next(pipeline.label))
        pass.setPipeline(pipeline)
        pass.setBindGroup(...binding)
        pass.dispatchWorkgroups(...counts)
        pass.end()
      },
      end: () => undefined,
    }
  }

  /**
   * @returns milliseconds from the beginning of the first pass that `work` submits to the end of the last, and of each
   * pass by name
   */
  async measure(work, apart = false) {
    this.#names = []
    this.#apart = apart
    this.#on = true
    await work()
    this.#on = false
    const count = this.#names.length
    const encoder = this.#device.createCommandEncoder()
    encoder.resolveQuerySet(this.#queries, 0, 2 * count, this.#resolved, 0)
    encoder.copyBufferToBuffer(this.#resolved, 0, this.#readable, 0, 16 * count)
    this.#device.queue.submit([encoder.finish()])
    await this.#readable.mapAsync(0x1, 0, 16 * count)
    const times = new BigUint64Array(this.#readable.getMappedRange(0, 16 * count).slice(0))
    this.#readable.unmap()
    const milliseconds = (from, to) => Number(times[to] - times[from]) / 1e6
    const passes = this.#names.map((name, i) => ({ name, start: milliseconds(0, 2 * i), time: milliseconds(2 * i, 2 * i + 1) }))
    return { total: milliseconds(0, 2 * count - 1), passes }
  }
}
