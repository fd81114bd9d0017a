import { type Device, type DeviceBuffer, Dispatch } from '../../device/device.js'
import type { ResourceScope } from '../../device/resource-scope.js'
import type { Interrupt } from '../../interrupt.js'
import type { StandaloneWeights } from '../../plan/memory/standalone-weights.js'
import type { Tensor } from '../../tensor.js'
import { yieldToEventLoop } from '../../event-loop.js'
import type { Submission } from './chunk-scheduler.js'
import type { TracedCall } from './layer-trace.js'

/** One checked call of a layer. */
export interface LayerForward extends TracedCall {
  readonly device: Device
  /** Ends it, for instance with `DISPOSED`. */
  readonly interrupt: Interrupt
  readonly parameters: StandaloneWeights
  readonly weights: DeviceBuffer
  readonly x: Float32Array
  readonly angles: Tensor | undefined
  /**
   * Called synchronously once `x` and `angles` will not be read again; if absent, they belong to this call and do not
   * change.
   */
  readonly inputsRead?: (() => void) | undefined
}

/** Called between dispatches: yields to the event loop now and then, and ends work on disposed objects. */
export function createYieldPoint(forward: LayerForward): () => Promise<void> {
  return async () => {
    await yieldToEventLoop()
    forward.interrupt.check()
  }
}

/**
 * Submissions of as many dispatches as the device takes at once, each bound to one worker group's memory: two of
 * them where other threads compute. A trace is read after each chunk.
 */
export function createDispatches(
  { device, trace }: LayerForward,
  workerGroups: number,
  bind: (dispatch: Dispatch, workerGroup: number) => void,
): readonly Submission[] {
  const { submissionSize } = device
  const submissions = Array.from({ length: trace || submissionSize === 1 ? 1 : 2 }, () =>
    Array.from({ length: trace ? 1 : submissionSize }, () => new Dispatch()),
  )
  for (const dispatches of submissions) {
    dispatches.forEach((dispatch, index) => {
      dispatch.workerGroup = index % workerGroups
      bind(dispatch, dispatch.workerGroup)
    })
  }
  return submissions
}

export function writeAngles(scope: ResourceScope, angles: Tensor | undefined): DeviceBuffer | undefined {
  if (!angles) return undefined
  const buffer = scope.allocate(angles.data.byteLength, "the rotary angles' table")
  buffer.write(angles.data, 0)
  return buffer
}
