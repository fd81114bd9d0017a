import type { Arena, Block } from '../../memory/arena.js'
import type { ByteScanner } from '../device.js'
import type { KernelExports } from './instantiate.js'

/** Bytes copied into the memory at a time, small enough to stay in a second-level cache. */
const STAGE_BYTES = 1 << 18
/** Block size of the kernels. */
const BLOCK_BYTES = 16

/** `ByteScanner` using kernels, through a staging buffer in the memory. */
export class WasmScanner implements ByteScanner {
  readonly #arena: Arena
  readonly #kernels: KernelExports

  constructor(arena: Arena, kernels: KernelExports) {
    this.#arena = arena
    this.#kernels = kernels
  }

  isFiniteFloat16(bytes: Uint8Array): boolean {
    return this.#staged(bytes.length, (stage) => {
      for (let from = 0; from < bytes.length; from += STAGE_BYTES) {
        const end = this.#bring(bytes.subarray(from, from + STAGE_BYTES), stage)
        if (!this.#kernels.isFiniteFloat16(stage.address, end)) return false
      }
      return true
    })
  }

  mixBlocks(lanes: Uint32Array, bytes: Uint8Array): void {
    this.#staged(bytes.length + BLOCK_BYTES, (stage) => {
      const { ints } = this.#arena
      const kept = (stage.address + stage.byteLength - BLOCK_BYTES) / 4
      ints.set(lanes, kept)
      const most = stage.byteLength - BLOCK_BYTES
      for (let from = 0; from < bytes.length; from += most) {
        const end = this.#bring(bytes.subarray(from, from + most), stage)
        this.#kernels.mixBlocks(kept * 4, stage.address, end)
      }
      lanes.set(ints.subarray(kept, kept + 4))
    })
  }

  #staged<T>(byteLength: number, use: (stage: Block) => T): T {
    const stage = this.#arena.allocate(Math.min(STAGE_BYTES, byteLength), 'staging of scanned bytes')
    try {
      return use(stage)
    } finally {
      this.#arena.free(stage)
    }
  }

  /** Copies bytes to the staging buffer, zero-padding the last block. Returns the address after it. */
  #bring(bytes: Uint8Array, { address }: Block): number {
    const memory = this.#arena.bytes
    const end = address + Math.ceil(bytes.length / BLOCK_BYTES) * BLOCK_BYTES
    memory.set(bytes, address)
    memory.fill(0, address + bytes.length, end)
    return end
  }
}
