import { existsSync, readFileSync } from 'node:fs'
import { openWebGpu } from './gpu.mjs'

const folder = new URL('../node_modules/onnxruntime-web/dist/', import.meta.url)
const script = new URL('ort.webgpu.bundle.min.mjs', folder)
const binary = new URL('ort-wasm-simd-threaded.asyncify.wasm', folder)

/** Of a GPUBuffer: STORAGE, COPY_DST and COPY_SRC. */
const USAGE = 0x80 | 0x8 | 0x4

const NAME = "onnxruntime-web's WebGPU provider"

/**
 * onnxruntime-web's WebGPU provider in this process, on a device of its own. Of the package, nothing but those two
 * files is needed.
 * @returns undefined where it does not start; `note` says why
 */
export async function openOnnxRuntime(note) {
  if (!existsSync(script) || !existsSync(binary)) {
    note(`${NAME} is left out: it is not installed`)
    return undefined
  }
  openWebGpu()
  const ort = await import(script)
  ort.env.wasm.numThreads = 1
  ort.env.wasm.wasmBinary = readFileSync(binary)
  ort.env.webgpu.powerPreference = 'high-performance'
  return new OnnxRuntime(ort, note)
}

class OnnxRuntime {
  #ort
  #note

  constructor(ort, note) {
    this.#ort = ort
    this.#note = note
  }

  /**
   * Opens a model of one input and one output, and runs it once.
   * @param what it is, in words
   * @param resident whether both stay in the GPU's memory, or come from JavaScript and go there
   * @returns undefined where that fails; a note says why
   */
  async open(what, model, [input, x, shape], { resident = false } = {}) {
    try {
      const session = await this.#ort.InferenceSession.create(model, {
        executionProviders: ['webgpu'],
        graphOptimizationLevel: 'all',
        preferredOutputLocation: resident ? 'gpu-buffer' : 'cpu',
        logSeverityLevel: 3,
      })
      const device = await this.#ort.env.webgpu.device
      const tensor = resident ? this.#onGpu(device, x, shape) : new this.#ort.Tensor('float32', x, shape)
      const forward = async () => Object.values(await session.run({ [input]: tensor }))[0]
      return {
        first: await (await forward()).getData(true),
        /** Until the output is where it belongs. */
        async run() {
          const output = await forward()
          if (resident) await device.queue.onSubmittedWorkDone()
          output.dispose()
        },
        async dispose() {
          tensor.dispose()
          await session.release()
        },
      }
    } catch (error) {
      this.#note(`${NAME} is left out of ${what}: ${error.message.split('\n')[0]}`)
      return undefined
    }
  }

  #onGpu(device, x, shape) {
    const gpuBuffer = device.createBuffer({ size: x.byteLength, usage: USAGE })
    device.queue.writeBuffer(gpuBuffer, 0, x)
    return this.#ort.Tensor.fromGpuBuffer(gpuBuffer, { dataType: 'float32', dims: shape, dispose: () => gpuBuffer.destroy() })
  }
}
