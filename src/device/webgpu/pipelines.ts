import { type ShaderBindings, FIRST_BUFFER, HEADER_BYTES, type Kernel, OP_VECTORS, writeShader } from './kernel.js'
import { ShaderStage } from './constants.js'

/** A kernel compiled for operands in certain buffers. */
export class Pipeline {
  readonly layout: GPUBindGroupLayout
  readonly #gpu: GPUDevice
  readonly #descriptor: GPUComputePipelineDescriptor
  #pipeline: GPUComputePipeline | undefined
  #pending: Promise<void> | undefined

  constructor(gpu: GPUDevice, kernel: Kernel, bindings: ShaderBindings, partBytes: number) {
    this.#gpu = gpu
    const entry = (binding: number, buffer: GPUBufferBindingLayout) => ({ binding, visibility: ShaderStage.COMPUTE, buffer })
    const storage = bindings.memories.flatMap(({ parts, writable }) =>
      Array.from({ length: parts }, (): GPUBufferBindingLayout => ({ type: writable ? 'storage' : 'read-only-storage' })),
    )
    this.layout = gpu.createBindGroupLayout({
      entries: [
        entry(0, { type: 'uniform', hasDynamicOffset: true, minBindingSize: HEADER_BYTES }),
        entry(1, { type: 'uniform', minBindingSize: OP_VECTORS * 16 }),
        ...storage.map((buffer, i) => entry(FIRST_BUFFER + i, buffer)),
      ],
    })
    const code = writeShader(kernel, bindings, { partBytes, subgroups: gpu.features.has('subgroups') })
    this.#descriptor = {
      label: kernel.name,
      layout: gpu.createPipelineLayout({ bindGroupLayouts: [this.layout] }),
      compute: { module: gpu.createShaderModule({ label: kernel.name, code }), entryPoint: 'main' },
    }
  }

  /** Compiles the pipeline asynchronously; returns undefined if it is ready. */
  prepare(): Promise<void> | undefined {
    if (this.#pipeline) return undefined
    this.#pending ??= this.#make().finally(() => (this.#pending = undefined))
    return this.#pending
  }

  async #make(): Promise<void> {
    this.#pipeline = await this.#gpu.createComputePipelineAsync(this.#descriptor)
  }

  /** Returns the pipeline, compiling it synchronously if it was not prepared. */
  get(): GPUComputePipeline {
    return (this.#pipeline ??= this.#gpu.createComputePipeline(this.#descriptor))
  }
}

/** A device's pipelines, each created once. */
export class Pipelines {
  readonly #gpu: GPUDevice
  readonly #partBytes: number
  readonly #known = new Map<string, Pipeline>()

  constructor(gpu: GPUDevice, partBytes: number) {
    this.#gpu = gpu
    this.#partBytes = partBytes
  }

  get(kernel: Kernel, bindings: ShaderBindings): Pipeline {
    const memories = bindings.memories.map(({ parts, whole, writable }) => `${parts}${whole ? '' : '+'}${writable ? 'w' : 'r'}`)
    const places = Object.keys(kernel.operands).map((name) => bindings.places[name])
    const key = [kernel.name, ...places, ...memories].join(' ')
    let pipeline = this.#known.get(key)
    if (!pipeline) {
      pipeline = new Pipeline(this.#gpu, kernel, bindings, this.#partBytes)
      this.#known.set(key, pipeline)
    }
    return pipeline
  }
}
