import { KERNELS } from './kernels/table'
import { waitForPredecessor, isStopped, waitAtBarrier, takePartition, signalSectionsLeft } from './parallel'
import { slicesOf, runSlice, workOf } from './preemption'
import { BEGINS_SERIALIZED, ENDS_SERIALIZED, OPCODE_MASK, SKIPS_BARRIER } from './ir/flags'
import { Opcode } from './ir/ops'
import { ResumePoint } from './ir/resume-point'

/** The op after the given one. */
// @ts-ignore: decorator
@inline
function after(op: usize): usize {
  return op + ((<usize>load<i32>(op, 4)) << 2)
}

/** The end of the ops from this one to the next barrier. */
function nextBarrier(op: usize): usize {
  while (load<i32>(op) & SKIPS_BARRIER) op = after(op)
  return after(op)
}

/** Number of serialized sections that end among these ops. */
function serializedEnds(op: usize, end: usize): i32 {
  let ends = 0
  for (; op != end; op = after(op)) ends += i32((load<i32>(op) & ENDS_SERIALIZED) != 0)
  return ends
}

/** Runs one partition of the ops up to the next barrier, for a dispatch that has left `passed` serialized sections. */
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
 * Runs a program. On one thread: partitions `first` … `first` + `count` - 1 of `partitions`. Several threads, all
 * called with the same program and header, take partitions dynamically, so that a delayed thread leaves its share to
 * the others, and wait at `barrier` (three zeroed words) wherever the barrier is not skipped. Dispatches of one program
 * may overlap; each needs its own memory for everything used outside serialized sections.
 */
export function run(program: usize, header: usize, partitions: i32, first: i32, count: i32, barrier: usize, threads: i32): void {
  let op = program
  let passed = 0
  let ends = load<i32>(op) == Opcode.End
  while (!ends) {
    const end = nextBarrier(op)
    // read now: once all threads have reached the last barrier, the host may free the program while this thread is
    // still leaving it
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
      waitAtBarrier(barrier, threads)
    } else {
      for (let partition = first; partition < first + count; ++partition) runUnbarriered(op, end, header, partition, partitions, passed)
    }
    if (leaves > 0) {
      passed += leaves
      if (first == 0) signalSectionsLeft(header, passed)
    }
    op = end
  }
}

/**
 * Runs a program on one thread from `resumePoint` on until about `budget` operations are done; ops of more than
 * `most` may be left and resumed between slices. Returns 1 at the program's end. Until then the host may do other work
 * and resume with the same call, or abandon it: nothing needs undoing except what the ops have written.
 */
export function resume(resumePoint: usize, header: usize, budget: f64, most: f64): i32 {
  let op = load<usize>(resumePoint + (ResumePoint.Op << 2))
  let slice = load<i32>(resumePoint + (ResumePoint.Slice << 2))
  let slices = load<i32>(resumePoint + (ResumePoint.Slices << 2))
  while (load<i32>(op) != Opcode.End) {
    if (budget <= 0) {
      store<usize>(resumePoint + (ResumePoint.Op << 2), op)
      store<i32>(resumePoint + (ResumePoint.Slice << 2), slice)
      store<i32>(resumePoint + (ResumePoint.Slices << 2), slices)
      return 0
    }
    const work = workOf(op, header)
    if (slice == 0) slices = slicesOf(op, header, work, most)
    if (slices == 1) unchecked(KERNELS[load<i32>(op) & OPCODE_MASK])(op, header, 0, 1)
    else runSlice(op, header, slice, slices)
    budget -= max<f64>(work / <f64>slices, 1)
    if (++slice < slices) continue
    slice = 0
    op = after(op)
  }
  return 1
}
