import { assignSlots, selectKeyValues, selectQueries } from './kernels/selection'
import { combine, copyRows, embed, logProbabilities } from './kernels/elementwise'
import { gatherContext, nullContext, selectContext, updateContext } from './kernels/context'
import { listQueries, routeCausal, similarities } from './kernels/routing'
import { attention, localStore } from './kernels/attention'
import { normalise } from './kernels/norms'
import { product } from './kernels/matmul'
import { rotate, rotaryFromAngles, rotaryFromPositions } from './kernels/rotary'
import { meet, takeShare } from './parallel'
import { JOINS_NEXT, Opcode } from './steps'

/** Runs one share of a step. */
type Kernel = (step: usize, piece: usize, share: i32, shares: i32) => void

function end(step: usize, piece: usize, share: i32, shares: i32): void {}

/** In the order of `Opcode`. An immutable table: each kernel is compiled and tiers up on its own (docs/KERNELS.md, pitfall 11). */
const KERNELS: StaticArray<Kernel> = [
  end,
  embed,
  rotaryFromPositions,
  rotaryFromAngles,
  normalise,
  product,
  rotate,
  localStore,
  attention,
  similarities,
  copyRows,
  routeCausal,
  listQueries,
  combine,
  selectContext,
  updateContext,
  nullContext,
  selectQueries,
  selectKeyValues,
  assignSlots,
  gatherContext,
  logProbabilities,
]

/** A step's opcode, without what is said beside it. */
// @ts-ignore: decorator
@inline
function opcodeOf(opcodeWord: i32): i32 {
  return opcodeWord & (JOINS_NEXT - 1)
}

/** The step behind one. */
// @ts-ignore: decorator
@inline
function after(step: usize): usize {
  return step + ((<usize>load<i32>(step, 4)) << 2)
}

/** Behind the last of the steps that are joined from this one on. */
function endOfJoined(step: usize): usize {
  while (load<i32>(step) >= JOINS_NEXT) step = after(step)
  return after(step)
}

/** Runs one share of joined steps, all of them. */
function runJoined(step: usize, end: usize, piece: usize, share: i32, shares: i32): void {
  while (step != end) {
    const opcode = opcodeOf(load<i32>(step))
    assert(opcode > 0 && opcode < Opcode.Length, 'unknown opcode')
    const next = after(step)
    unchecked(KERNELS[opcode])(step, piece, share, shares)
    step = next
  }
}

/**
 * Runs the steps from `program` on: on one thread the shares `first` … `first` + `count` - 1 of `shares`. Several threads, all called with the same
 * program and piece, take shares as they come to them, so that one that is held up leaves its to the others; behind joined steps they meet at `barrier`
 * (three zeroed words).
 */
export function run(program: usize, piece: usize, shares: i32, first: i32, count: i32, barrier: usize, threads: i32): void {
  let step = program
  let ends = load<i32>(step) == Opcode.End
  while (!ends) {
    const end = endOfJoined(step)
    // what follows is read now: once all have come to the last barrier the host may take the program's memory back, while this thread still leaves it
    ends = load<i32>(end) == Opcode.End
    if (threads > 1) {
      for (let share = takeShare(barrier, first, shares); share >= 0; share = takeShare(barrier, first, shares)) {
        runJoined(step, end, piece, share, shares)
      }
      meet(barrier, threads)
    } else {
      for (let share = first; share < first + count; ++share) runJoined(step, end, piece, share, shares)
    }
    step = end
  }
}
