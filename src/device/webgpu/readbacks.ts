import type { BufferRange } from '../device.js'
import type { BufferPool } from './buffer-pool.js'
import { BufferUsage } from './constants.js'
import type { WebGpuBuffer } from './webgpu-buffer.js'

/** Results being copied to the host, packed one after another. */
export interface Readback {
  readonly staging: GPUBuffer
  readonly ranges: readonly BufferRange[]
}

/** Copies ranges to host-readable buffers, several to a buffer if they fit. */
export function copyOut({ gpu, pool }: { readonly gpu: GPUDevice; readonly pool: BufferPool }, ranges: readonly BufferRange[]): Readback[] {
  const loads: { byteLength: number; ranges: BufferRange[] }[] = []
  for (const range of ranges) {
    const last = loads.at(-1)
    if (last && last.byteLength + range.byteLength <= gpu.limits.maxBufferSize) {
      last.byteLength += range.byteLength
      last.ranges.push(range)
    } else loads.push({ byteLength: range.byteLength, ranges: [range] })
  }
  return loads.map(({ byteLength, ranges }) => {
    const staging = pool.take(byteLength, BufferUsage.MAP_READ | BufferUsage.COPY_DST, gpu.limits.maxBufferSize, 'the results')
    let at = 0
    for (const range of ranges) {
      ;(range.memory as WebGpuBuffer).fetch(range.byteOffset, range.byteLength, staging, at)
      at += range.byteLength
    }
    return { staging, ranges }
  })
}

/** Copies what is in a mapped staging buffer to the buffers it belongs to. */
export function receiveReadback({ staging, ranges }: Readback): void {
  const bytes = new Uint8Array(staging.getMappedRange())
  let at = 0
  for (const { memory, byteOffset, byteLength } of ranges) {
    ;(memory as WebGpuBuffer).receive(byteOffset, bytes.subarray(at, at + byteLength))
    at += byteLength
  }
}
