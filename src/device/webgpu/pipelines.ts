import { FIRST_BUFFER, type Kernel, type Place, writeShader } from './kernel.js'
import { ShaderStage } from './constants.js'

/** A kernel made for operands that lie in certain buffers. */
export class Pipeline {
  readonly layout: GPUBindGroupLayout
  readonly #gpu: GPUDevice
  readonly #descriptor: GPUComputePipelineDescriptor
  #pipeline: GPUComputePipeline | undefined
  #pending: Promise<void> | undefined

  constructor(gpu: GPUDevice, kernel: Kernel, places: Readonly<Record<string, Place>>, readOnly: readonly boolean[]) {
    this.#gpu = gpu
    const uniform = (binding: number): GPUBindGroupLayoutEntry => ({
      binding,
      visibility: ShaderStage.COMPUTE,
      buffer: { type: 'uniform' },
    })
    this.layout = gpu.createBindGroupLayout({
      entries: [
        uniform(0),
        uniform(1),
        ...readOnly.map((only, i): GPUBindGroupLayoutEntry => ({
          binding: FIRST_BUFFER + i,
          visibility: ShaderStage.COMPUTE,
          buffer: { type: only ? 'read-only-storage' : 'storage' },
        })),
      ],
    })
    const code = writeShader(kernel, places, readOnly, gpu.features.has('subgroups'))
    this.#descriptor = {
      label: kernel.name,
      layout: gpu.createPipelineLayout({ bindGroupLayouts: [this.layout] }),
      compute: { module: gpu.createShaderModule({ label: kernel.name, code }), entryPoint: 'main' },
    }
  }

  /** Undefined once it can be used at once. */
  prepare(): Promise<void> | undefined {
    if (this.#pipeline) return undefined
    this.#pending ??= this.#gpu.createComputePipelineAsync(this.#descriptor).then((pipeline) => void (this.#pipeline = pipeline))
    return this.#pending
  }

  /** Made on the spot, where nobody prepared it. */
  get(): GPUComputePipeline {
    return (this.#pipeline ??= this.#gpu.createComputePipeline(this.#descriptor))
  }
}

/** The pipelines of a device, each made once. */
export class Pipelines {
  readonly #gpu: GPUDevice
  readonly #known = new Map<string, Pipeline>()

  constructor(gpu: GPUDevice) {
    this.#gpu = gpu
  }

  get(kernel: Kernel, places: Readonly<Record<string, Place>>, readOnly: readonly boolean[]): Pipeline {
    const key = `${kernel.name} ${Object.values(places).join(' ')} ${readOnly.map(Number).join('')}`
    let pipeline = this.#known.get(key)
    if (!pipeline) {
      pipeline = new Pipeline(this.#gpu, kernel, places, readOnly)
      this.#known.set(key, pipeline)
    }
    return pipeline
  }
}
