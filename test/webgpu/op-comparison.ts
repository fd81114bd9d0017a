/**
 * Runs one op on the WebAssembly device and on the WebGPU one, from the same memory, and compares all that it may
 * write.
 */
import { expect } from 'vitest'
import type { OpName } from '../../src/program/encode-op.js'
import type { OpFields } from '../../src/program/op-fields.js'
import type { WebGpuDevice } from '../../src/device/webgpu/webgpu-device.js'
import type { OpMemory } from '../kernels/op-runner.js'
import { type Region, runtimeOf } from '../kernels/op-runner.js'
import type { DispatchHeader } from '../../assembly/ir/header.js'

/** One op: the memory it works on, its operands and numbers, and which of its operands hold what. */
export interface OpCase<O extends OpName> {
  readonly memory: OpMemory
  readonly opcode: O
  readonly fields: OpFields[O]
  readonly chunk?: Readonly<Partial<Record<DispatchHeader, number>>>
  /** Compared within a tolerance: relative to the largest value expected, or 1. */
  readonly floats?: readonly Region[]
  readonly doubles?: readonly Region[]
  /** Compared bit by bit. */
  readonly exact?: readonly Region[]
}

/** The words of all that an op may write. */
export function written({
  memory,
  floats = [],
  doubles = [],
  exact = [],
}: Pick<OpCase<OpName>, 'memory' | 'floats' | 'doubles' | 'exact'>): Int32Array[] {
  return [...exact, ...floats, ...doubles].map((region) => memory.ints(region))
}

/** What an op writes on a device. */
export async function wordsFrom<O extends OpName>(device: WebGpuDevice, op: OpCase<O>): Promise<Int32Array[]> {
  await op.memory.runOn(device, op.opcode, op.fields, op.chunk)
  return written(op)
}

/**
 * @param make the same case twice: each device writes to its own
 * @param tolerance see `floats`; default 2e-6
 */
export async function expectSameOp<O extends OpName>(
  device: WebGpuDevice,
  make: () => OpCase<O>,
  about: string,
  tolerance = 2e-6,
): Promise<void> {
  const expected = make()
  const actual = make()
  expected.memory.run(runtimeOf('checked-relaxed'), expected.opcode, expected.fields, expected.chunk)
  await actual.memory.runOn(device, actual.opcode, actual.fields, actual.chunk)
  expected.exact?.forEach((region, i) => {
    expect(actual.memory.ints(actual.exact![i]!), `${about}: exact operand ${i}`).toEqual(expected.memory.ints(region))
  })
  expected.floats?.forEach((region, i) => {
    expectClose(actual.memory.floats(actual.floats![i]!), expected.memory.floats(region), tolerance, `${about}: float operand ${i}`)
  })
  expected.doubles?.forEach((region, i) => {
    expectClose(actual.memory.doubles(actual.doubles![i]!), expected.memory.doubles(region), tolerance, `${about}: double operand ${i}`)
  })
}

function expectClose(actual: ArrayLike<number>, expected: ArrayLike<number>, tolerance: number, about: string): void {
  const scale = Array.from(expected).reduce((most, value) => Math.max(most, Math.abs(value) || 0), 1)
  for (let at = 0; at < expected.length; at++) {
    const same = Object.is(expected[at], actual[at]) || Math.abs(expected[at]! - actual[at]!) <= tolerance * scale
    if (!same) expect.fail(`${about}, value ${at}: expected ${expected[at]}, got ${actual[at]}`)
  }
}
