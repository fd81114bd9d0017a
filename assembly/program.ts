import { assignSlots, selectKeyValues, selectQueries } from './kernels/selection'
import { combine, copyRows, embed, logProbabilities } from './kernels/elementwise'
import { gatherContext, nullContext, selectContext, updateContext } from './kernels/context'
import { listQueries, routeCausal, similarities } from './kernels/routing'
import { attention, localStore } from './kernels/attention'
import { normalise } from './kernels/norms'
import { matmul } from './kernels/matmul'
import { rotate, rotaryFromAngles, rotaryFromPositions } from './kernels/rotary'
import { waitForPredecessor, isStopped, meet, takePartition, signalStage } from './parallel'
import { partsOf, runPart, workOf } from './parts'
import { BEGINS_SERIALIZED, ResumePoint, ENDS_SERIALIZED, SKIPS_BARRIER, OPCODE_MASK, Opcode } from './ops'

/** Runs one partition of an op. */
type Kernel = (op: usize, header: usize, partition: i32, partitions: i32) => void

function end(op: usize, header: usize, partition: i32, partitions: i32): void {}

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
  matmul,
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

/** The op behind one. */
// @ts-ignore: decorator
@inline
function after(op: usize): usize {
  return op + ((<usize>load<i32>(op, 4)) << 2)
}

/** Behind the last of the ops that are joined from this one on. */
function nextBarrier(op: usize): usize {
  while (load<i32>(op) & SKIPS_BARRIER) op = after(op)
  return after(op)
}

/** How many ordered parts end with joined ops. */
function serializedEnds(op: usize, end: usize): i32 {
  let ends = 0
  for (; op != end; op = after(op)) ends += i32((load<i32>(op) & ENDS_SERIALIZED) != 0)
  return ends
}

/** Runs one partition of joined ops, all of them, of a dispatch that is through with `passed` ordered parts. */
function runUnbarriered(op: usize, end: usize, header: usize, partition: i32, partitions: i32, passed: i32): void {
  while (op != end) {
    const word = load<i32>(op)
    const opcode = word & OPCODE_MASK
    assert(opcode > 0 && opcode < Opcode.Length, 'unknown opcode')
    if (word & BEGINS_SERIALIZED) waitForPredecessor(header, passed + 1)
    const next = after(op)
    if (!isStopped(header)) unchecked(KERNELS[opcode])(op, header, partition, partitions)
    op = next
  }
}

/**
 * Runs the ops from `program` on: on one thread the partitions `first` … `first` + `count` - 1 of `partitions`. Several
 * threads, all called with the same program and chunk, take partitions as they come to them, so that one that is held
 * up leaves its to the others; behind joined ops they meet at `barrier` (three zeroed words). Runs of one program may
 * be at work side by side, each with memory of its own for all but what its ordered parts use.
 */
export function run(program: usize, header: usize, partitions: i32, first: i32, count: i32, barrier: usize, threads: i32): void {
  let op = program
  let passed = 0
  let ends = load<i32>(op) == Opcode.End
  while (!ends) {
    const end = nextBarrier(op)
    // what follows is read now: once all have come to the last barrier the host may take the program's memory back,
    // while this thread still leaves it
    ends = load<i32>(end) == Opcode.End
    const leaves = serializedEnds(op, end)
    if (threads > 1) {
      for (
        let partition = takePartition(barrier, first, partitions);
        partition >= 0;
        partition = takePartition(barrier, first, partitions)
      ) {
        runUnbarriered(op, end, header, partition, partitions, passed)
      }
      meet(barrier, threads)
    } else {
      for (let partition = first; partition < first + count; ++partition) runUnbarriered(op, end, header, partition, partitions, passed)
    }
    if (leaves > 0) {
      passed += leaves
      if (first == 0) signalStage(header, passed)
    }
    op = end
  }
}

/**
 * Runs a program on one thread from where `cursor` says on, until some `budget` operations are done; ops of more than
 * `most` are left and entered again between their parts. Returns 1 at the program's end; until then the host may do
 * other work, and go on by the same call or never: nothing is left to be undone but what ops have written.
 */
export function proceed(cursor: usize, header: usize, budget: f64, most: f64): i32 {
  let op = load<usize>(cursor + (ResumePoint.Op << 2))
  let part = load<i32>(cursor + (ResumePoint.Part << 2))
  let parts = load<i32>(cursor + (ResumePoint.Parts << 2))
  while (load<i32>(op) != Opcode.End) {
    if (budget <= 0) {
      store<usize>(cursor + (ResumePoint.Op << 2), op)
      store<i32>(cursor + (ResumePoint.Part << 2), part)
      store<i32>(cursor + (ResumePoint.Parts << 2), parts)
      return 0
    }
    const work = workOf(op, header)
    if (part == 0) parts = partsOf(op, header, work, most)
    if (parts == 1) unchecked(KERNELS[load<i32>(op) & OPCODE_MASK])(op, header, 0, 1)
    else runPart(op, header, part, parts)
    budget -= max<f64>(work / <f64>parts, 1)
    if (++part < parts) continue
    part = 0
    op = after(op)
  }
  return 1
}
