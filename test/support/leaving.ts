/** A calling thread that leaves its programs far more often than it would. */
import type { Runtime } from '../../src/device/runtime.js'
import type { WasmDevice } from '../../src/device/wasm/wasm-device.js'
import { nextMacrotask } from '../../src/event-loop.js'

/**
 * Operations behind which it leaves, and beyond which a step is cut: fewer than nearly any step has, and each step
 * twice or so.
 */
const OFTEN = { leaveWork: 1, sliceWork: 5000 }

/** Leaves behind every part of every step, and turns the event loop each time. */
export function leaveOften(runtime: Runtime, work = OFTEN): void {
  Object.assign(runtime.device, work, { yieldToEventLoop: nextMacrotask })
}

/**
 * Calls `act` when the device has left a program for the `nth` time from now; without, only counts.
 * @returns puts an end to it, and tells how often it left
 */
export function atLeave(runtime: Runtime, nth?: number, act?: () => void): () => number {
  const device = runtime.device as WasmDevice
  const { yieldToEventLoop } = device
  let leaves = 0
  device.yieldToEventLoop = () => {
    if (++leaves === nth) act!()
    return yieldToEventLoop()
  }
  return () => {
    device.yieldToEventLoop = yieldToEventLoop
    return leaves
  }
}
