import { assignSlots, selectKeyValues, selectQueries } from './kernels/selection'
import { combine, copyRows, embed, logProbabilities } from './kernels/elementwise'
import { gatherContext, nullContext, selectContext, updateContext } from './kernels/context'
import { listQueries, routeCausal, similarities } from './kernels/routing'
import { attention, localStore } from './kernels/attention'
import { normalise } from './kernels/norms'
import { product } from './kernels/matmul'
import { rotate, rotaryFromAngles, rotaryFromPositions } from './kernels/rotary'
import { awaitEarlier, isStopped, meet, takeShare, tellPassed } from './parallel'
import { partsOf, runPart, workOf } from './parts'
import { BEGINS_ORDERED, Cursor, ENDS_ORDERED, JOINS_NEXT, OPCODE_MASK, Opcode } from './steps'

/** Runs one share of a step. */
type Kernel = (step: usize, piece: usize, share: i32, shares: i32) => void

function end(step: usize, piece: usize, share: i32, shares: i32): void {}

/**
 * In the order of `Opcode`. An immutable table: each kernel is compiled and tiers up by itself
 * (docs/kernel-pitfalls.md#tiering).
 */
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

/** The step behind one. */
// @ts-ignore: decorator
@inline
function after(step: usize): usize {
  return step + ((<usize>load<i32>(step, 4)) << 2)
}

/** Behind the last of the steps that are joined from this one on. */
function endOfJoined(step: usize): usize {
  while (load<i32>(step) & JOINS_NEXT) step = after(step)
  return after(step)
}

/** How many ordered parts end with joined steps. */
function orderedEnds(step: usize, end: usize): i32 {
  let ends = 0
  for (; step != end; step = after(step)) ends += i32((load<i32>(step) & ENDS_ORDERED) != 0)
  return ends
}

/** Runs one share of joined steps, all of them, of a run that is through with `passed` ordered parts. */
function runJoined(step: usize, end: usize, piece: usize, share: i32, shares: i32, passed: i32): void {
  while (step != end) {
    const word = load<i32>(step)
    const opcode = word & OPCODE_MASK
    assert(opcode > 0 && opcode < Opcode.Length, 'unknown opcode')
    if (word & BEGINS_ORDERED) awaitEarlier(piece, passed + 1)
    const next = after(step)
    if (!isStopped(piece)) unchecked(KERNELS[opcode])(step, piece, share, shares)
    step = next
  }
}

/**
 * Runs the steps from `program` on: on one thread the shares `first` … `first` + `count` - 1 of `shares`. Several threads, all called with the same
 * program and piece, take shares as they come to them, so that one that is held up leaves its to the others; behind joined steps they meet at `barrier`
 * (three zeroed words). Runs of one program may be at work side by side, each with memory of its own for all but what its ordered parts use.
 */
export function run(program: usize, piece: usize, shares: i32, first: i32, count: i32, barrier: usize, threads: i32): void {
  let step = program
  let passed = 0
  let ends = load<i32>(step) == Opcode.End
  while (!ends) {
    const end = endOfJoined(step)
    // what follows is read now: once all have come to the last barrier the host may take the program's memory back, while this thread still leaves it
    ends = load<i32>(end) == Opcode.End
    const leaves = orderedEnds(step, end)
    if (threads > 1) {
      for (let share = takeShare(barrier, first, shares); share >= 0; share = takeShare(barrier, first, shares)) {
        runJoined(step, end, piece, share, shares, passed)
      }
      meet(barrier, threads)
    } else {
      for (let share = first; share < first + count; ++share) runJoined(step, end, piece, share, shares, passed)
    }
    if (leaves > 0) {
      passed += leaves
      if (first == 0) tellPassed(piece, passed)
    }
    step = end
  }
}

/**
 * Runs a program on one thread from where `cursor` says on, until some `budget` operations are done; steps of more than `most` are left and entered again
 * between their parts. Returns 1 at the program's end; until then the host may do other work, and go on by the same call or never: nothing is left to be
 * undone but what steps have written.
 */
export function proceed(cursor: usize, piece: usize, budget: f64, most: f64): i32 {
  let step = load<usize>(cursor + (Cursor.Step << 2))
  let part = load<i32>(cursor + (Cursor.Part << 2))
  let parts = load<i32>(cursor + (Cursor.Parts << 2))
  while (load<i32>(step) != Opcode.End) {
    if (budget <= 0) {
      store<usize>(cursor + (Cursor.Step << 2), step)
      store<i32>(cursor + (Cursor.Part << 2), part)
      store<i32>(cursor + (Cursor.Parts << 2), parts)
      return 0
    }
    const work = workOf(step, piece)
    if (part == 0) parts = partsOf(step, piece, work, most)
    if (parts == 1) unchecked(KERNELS[load<i32>(step) & OPCODE_MASK])(step, piece, 0, 1)
    else runPart(step, piece, part, parts)
    budget -= max<f64>(work / <f64>parts, 1)
    if (++part < parts) continue
    part = 0
    step = after(step)
  }
  return 1
}
