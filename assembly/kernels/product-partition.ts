import { partitionStart } from '../parallel'

/**
 * Computes a product's groups of panels from `firstGroup` to before `endGroup`, for `rows` rows from `row` on, in the
 * workspace of partition `place`.
 */
export type ProductKernel = (op: usize, header: usize, place: i32, row: i32, rows: i32, firstGroup: i32, endGroup: i32) => void

/**
 * Computes one partition of a product: split by groups of panels, so each weight is read by one thread; by rows if
 * there are too few groups.
 * @param projections side by side in the outputs, each of which is split for itself
 */
export function multiplyPartition(
  op: usize,
  header: usize,
  partition: i32,
  partitions: i32,
  place: i32,
  rows: i32,
  groups: i32,
  projections: i32,
  multiply: ProductKernel,
): void {
  if (rows == 0) return
  if (groups < partitions) {
    const row = partitionStart(rows, partition, partitions)
    multiply(op, header, place, row, partitionStart(rows, partition + 1, partitions) - row, 0, groups)
    return
  }
  const sections = max(projections, 1)
  for (let section = 0; section < sections; ++section) {
    const start = partitionStart(groups, section, sections)
    const length = partitionStart(groups, section + 1, sections) - start
    const first = start + partitionStart(length, partition, partitions)
    multiply(op, header, place, 0, rows, first, start + partitionStart(length, partition + 1, partitions))
  }
}
