import { assignSlots, selectKeyValues, selectQueries } from './kernels/selection'
import { combine, copyRows, embed, logProbabilities } from './kernels/elementwise'
import { gatherContext, nullContext, selectContext, updateContext } from './kernels/context'
import { listQueries, routeCausal, similarities } from './kernels/routing'
import { attention, localStore } from './kernels/attention'
import { normalise } from './kernels/norms'
import { product } from './kernels/matmul'
import { rotate, rotaryFromAngles, rotaryFromPositions } from './kernels/rotary'
import { meet } from './parallel'
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

/**
 * Runs the steps from `program` on, this thread's shares of each (`first` … `first + count` - 1 of `shares`), meeting the other threads at `barrier`
 * (two zeroed words) after every step that does not join the next. Every thread is called with the same program and piece.
 */
export function run(program: usize, piece: usize, shares: i32, first: i32, count: i32, barrier: usize, threads: i32): void {
  let step = program
  let opcodeWord = load<i32>(step)
  while (opcodeWord != Opcode.End) {
    const opcode = opcodeWord & (JOINS_NEXT - 1)
    assert(opcode > 0 && opcode < Opcode.Length, 'unknown opcode')
    const kernel = unchecked(KERNELS[opcode])
    const meets = threads > 1 && opcode == opcodeWord
    // what follows is read now: once all have come to the last barrier the host may take the program's memory back, while this thread still leaves it
    const next = step + ((<usize>load<i32>(step, 4)) << 2)
    opcodeWord = load<i32>(next)
    for (let share = first; share < first + count; ++share) kernel(step, piece, share, shares)
    if (meets) meet(barrier, threads)
    step = next
  }
}
