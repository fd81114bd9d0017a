import { BufferIndex, DispatchHeader } from '../../../assembly/ir/header.js'
import type { IntegerDot, TileShape } from '../../../assembly/ir/values.js'
import type { Arena } from '../../memory/arena.js'
import type { Dispatch } from '../device.js'
import type { WasmBuffer } from './wasm-buffer.js'

/** Distance between headers in bytes. */
export const HEADER_BYTES = DispatchHeader.Length * 4

/** Which kernels compute products; does not affect results. */
export interface KernelChoice {
  /** Of products of several rows. */
  readonly tileShape: TileShape
  /** How products of int8 weights are computed, of several rows and of one. */
  readonly tileDot: IntegerDot
  readonly rowDot: IntegerDot
}

/**
 * Writes a dispatch's header, with the addresses of its buffers; those that are not bound are 0.
 * @param workspace address of the workspace of the first partition
 * @param earlier address of the header of its predecessor if that is pending, otherwise 0
 * @param stop address of the word that cancels it, or 0
 */
export function writeHeader(
  { ints }: Arena,
  choice: KernelChoice,
  address: number,
  dispatch: Dispatch,
  workspace: number,
  earlier = 0,
  stop = 0,
): void {
  const header = address / 4
  ints.set(dispatch.header, header)
  ints[header + DispatchHeader.TileShape] = choice.tileShape
  ints[header + DispatchHeader.TileDot] = choice.tileDot
  ints[header + DispatchHeader.RowDot] = choice.rowDot
  ints[header + DispatchHeader.DependsOn] = earlier
  ints[header + DispatchHeader.SectionsLeft] = 0
  ints[header + DispatchHeader.Stop] = stop
  const table = header + DispatchHeader.Buffers
  writeAddresses(ints, table, dispatch)
  ints[table + BufferIndex.DispatchHeader] = address
  ints[table + BufferIndex.Workspace] = workspace
  let own = ints[table + BufferIndex.Sequences]! / 4
  for (const sequence of dispatch.sequences) {
    ints.set(sequence.header, own)
    ints[own + DispatchHeader.TileShape] = choice.tileShape
    ints[own + DispatchHeader.Stop] = stop
    writeAddresses(ints, own + DispatchHeader.Buffers, dispatch)
    writeAddresses(ints, own + DispatchHeader.Buffers, sequence)
    ints[own + DispatchHeader.Buffers + BufferIndex.DispatchHeader] = own * 4
    own += DispatchHeader.Length
  }
}

/** Writes the address of each buffer that is bound. */
function writeAddresses(ints: Int32Array, table: number, { buffers, offsets }: Dispatch): void {
  for (let id = 0; id < BufferIndex.Length; id++) {
    const memory = buffers[id] as WasmBuffer | undefined
    if (memory) ints[table + id] = memory.address + offsets[id]!
  }
}
