/*
 * The sizes that ops are run at, for all devices: the tests of the WebAssembly kernels compare them with plain twins
 * (this folder), those of the shaders with the WebAssembly kernels (test/webgpu). Each list covers what kernels may get
 * wrong: nothing, one, the tails of vectors and tiles, more than a workgroup. Ops whose cases are more than sizes have
 * a file of their own, such as `combine-op.ts`: cases, operands and twin.
 */
import { integers, normals, range, roundUpTo8 } from './float32.js'
import { routerScoreKinds } from './selection-runner.js'

/** Widths of rows: `Normalise`, `Embed`, `CopyRows`. */
export const rowWidths: readonly number[] = [...range(71).slice(1), 256, 600]

/** `CopyRows`: rows, the one that the first becomes, and rows of the ring, if it is one. */
export const rowCopies: readonly (readonly [rows: number, first: number | undefined, ring?: number])[] = [
  [0, 3],
  [1, 0],
  [7, undefined],
  [13, 4],
  [4, 2, 5],
  [1, 8, 9],
  [2, 8, 9],
  [9, 4, 9],
  [7, 2, 9],
  [5, 1, 9],
]

/** Numbers of logits: `LogProbabilities`. */
export const vocabularies: readonly number[] = [...range(71).slice(1), 1000, 4099]

/** Rows × depth × columns: `Matmul`. */
export const productSizes: readonly (readonly [rows: number, depth: number, columns: number])[] = [
  [1, 1, 1],
  [5, 64, 8],
  [3, 130, 100],
  [17, 129, 200],
  [70, 40, 136],
  [9, 20, 4100],
]

/** Widths of a head: `Rotate`, `LocalStore`, `Attention` and the ops of contexts. */
export const headWidths: readonly number[] = [2, 6, 10, 16, 64, 96]

/** Heads of any width, each filled up to whole vectors. */
export const headShapes = [
  { heads: 1, width: 2 },
  { heads: 3, width: 10 },
  { heads: 2, width: 16 },
  { heads: 2, width: 64 },
].map((shape) => ({ ...shape, headStride: roundUpTo8(shape.width) }))

export type HeadShape = (typeof headShapes)[number]

/** Local `Attention`: keys before a row's own that it attends to. */
export const localWindows: readonly number[] = [0, 1, 5, 7, 16, 31, 128, 300, 1000]

/** Key/values of a context, the null one not counted: `Attention` of routed queries. */
export const contextLengths: readonly number[] = [0, 1, 2, 3, 6, 7, 8, 20, 63, 128, 200]

/** `RouterScores`: widths of a token. */
export const tokenWidths: readonly number[] = [...range(71).slice(1), 333]

type Draw = (length: number, seed: number) => Float32Array

/** Rows of router scores of every kind, for all ops that select. */
export const scoreKinds: Readonly<Record<string, Draw>> = {
  ...routerScoreKinds,
  'zero or not': (length, seed) => Float32Array.from(integers(length, 2, seed)),
}

/** And orders that matter to causal routing: `RouteCausal`, `SelectContext`. */
export const causalScoreKinds: Readonly<Record<string, Draw>> = {
  ...scoreKinds,
  ascending: (length) => Float32Array.from(range(length)),
  descending: (length) => Float32Array.from(range(length), (i) => -i),
  'of every magnitude': (length, seed) => normals(length, seed).map((x, i) => x * 10 ** (((i * 11) % 70) - 38)),
}

/**
 * `SelectQueries` and `SelectKeyValues`: k as large as the row or larger; 1; windows of one token; a last window of one
 * token, or with fewer tokens than k; more than a workgroup.
 */
export const selectionSizes: readonly (readonly [tokens: number, windowSize: number, count: number])[] = [
  [24, 8, 3],
  [24, 8, 8],
  [24, 8, 30],
  [21, 8, 6],
  [17, 8, 1],
  [9, 1, 4],
  [45, 5, 9],
  [700, 333, 30],
]

/** `RouteCausal`: a window, how many it takes, and the chunk of it that is decided; `routed` is 0 in window 0. */
export const causalRoutings: readonly (readonly [window: number, count: number, offset: number, rows: number, routed: 0 | 1])[] = [
  ...[1, 3, 8, 200].flatMap((count) =>
    (
      [
        [0, 37],
        [0, 1],
        [1, 7],
        [4, 4],
        [5, 20],
        [36, 1],
        [37, 0],
      ] as const
    ).map(([offset, rows]) => [37, count, offset, rows, 1] as const),
  ),
  [37, 3, 5, 20, 0],
  [700, 40, 0, 700, 1],
  [700, 8, 255, 300, 1],
  [256, 32, 0, 256, 1],
]

/** `SelectContext`: tokens that the context has, those of the window that closes, and places. */
export const contextSelections: readonly (readonly [before: number, window: number, count: number])[] = [
  [0, 1, 1],
  [0, 7, 4],
  [0, 4, 9],
  [4, 7, 4],
  [3, 5, 9],
  [9, 1, 9],
  [9, 40, 9],
  [130, 128, 130],
  [1000, 333, 1100],
  [8190, 300, 8200],
]

/** `UpdateContext`: key/values of the context, the ranks that stay, and how many are admitted. */
export const contextUpdates: readonly (readonly [before: number, retained: readonly number[], admitted: number])[] = [
  [0, [], 5],
  [9, [0, 1, 2, 3, 4, 5, 6, 7, 8], 0],
  [9, [0, 1, 5, 6, 8], 4],
  [9, [8], 8],
  [9, [], 9],
  [20, [1, 3, 9, 17, 19], 15],
  [20, [], 0],
  [128, range(128).filter((rank) => rank % 9 !== 4), 14],
  [128, range(128).slice(40), 40],
  [128, range(128), 0],
]

/** `AssignSlots`: tokens of a sequence. */
export const slotLengths: readonly number[] = [0, 1, 17, 24, 8192, 8600]
