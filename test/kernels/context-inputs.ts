/** `UpdateContextInputs`: a context's inputs, and those of a window that closes. */
import { type Opcode } from '../../assembly/ir/ops.js'
import type { OpFields } from '../../src/program/op-fields.js'
import { normals } from './float32.js'
import type { OpMemory, Region } from './op-runner.js'

/** Rows of the ring before the window's first. */
const FIRST = 3

/** @param retained the old ranks that stay; every second row of the window is admitted, `admitted` of them */
export function placeInputs(
  memory: OpMemory,
  before: number,
  retained: readonly number[],
  admitted: number,
  stride: number,
): { fields: OpFields[Opcode.UpdateContextInputs]; inputs: Region; expected: Float32Array } {
  const old = normals((before + admitted) * stride, 1)
  // the window's last rows wrap around to the front of the ring
  const ring = FIRST + 2 * admitted - Math.min(2, admitted)
  const recent = normals(ring * stride, 2)
  const rows = (of: Float32Array, indices: readonly number[]) => indices.flatMap((i) => [...of.subarray(i * stride, (i + 1) * stride)])
  const places = Array.from({ length: admitted }, (_, i) => 2 * i + 1)
  const inputs = memory.inputOutput(old, [{ width: (retained.length + admitted) * stride }])
  const fields = {
    retained: memory.input(Int32Array.from(retained)),
    retainedCount: memory.count(retained.length),
    admitted: memory.input(Int32Array.from(places)),
    admittedCount: memory.count(admitted),
    first: memory.count(FIRST),
    recent: memory.input(recent),
    inputs,
    stride,
    ring,
  }
  const joining = places.map((i) => (FIRST + i) % ring)
  return { fields, inputs, expected: Float32Array.from([...rows(old, retained), ...rows(recent, joining)]) }
}
