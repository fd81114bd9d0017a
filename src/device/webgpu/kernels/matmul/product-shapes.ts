import { productRows, type RowsShape } from './product-rows.js'
import { productTile, type ProductTile, type TileShape } from './product-tiles.js'

/**
 * The shapes in use. Measured on one H100 (Dawn, Vulkan, WebGPU's default limits), kernel time between timestamps with
 * the 2 µs that each dispatch takes there; next to cuBLAS float32. TFLOP/s, rows x depth x columns:
 *
 *                       large  middle  medium  small   cuBLAS
 *   8192 x 4096 x 4096   48.9    46.6    42.3              -
 *   4096 x 4096 x 4096   48.4    46.3    41.7            51.6
 *   2048 x 2048 x 2048   47.1    44.5    40.7            50.3
 *   1024 x 1024 x 1024   13.6    36.9    38.8   31.1     38.2
 *    512 x  512 x  512    3.6     8.5    15.5   22.0     15.3
 *    256 x  256 x  256    0.9     2.0     3.4    4.8      1.9
 *  16384 x  256 x  768   42.4    43.2    36.9   32.8     44.3
 *  16384 x  256 x  256   41.5    34.2    35.8   31.0     42.8
 *  16384 x  256 x  512   42.1    42.8    36.2   32.1     43.8
 *   4000 x  256 x  768   31.3    40.0    35.3   30.0     36.0
 *   4000 x  256 x  256           30.3    32.1            30.8
 *   4000 x  256 x  512           36.9    34.3   29.1     38.0
 *   1000 x  256 x  768           23.0    24.0   25.9        -
 *   1000 x  256 x  512                   25.7   23.6        -
 *   1000 x  256 x  256                   12.9   17.3        -
 *
 * Few rows, microseconds (of which 2 are the dispatch); a small tile takes 6.9 for 128 x 256 x 768, cuBLAS 14.5:
 *
 *                       rows4  rows16          rows1Wide  rows4Wide  rows8Wide
 *    1 x  256 x 768      3.8            1 x 256 x 32768    8.3
 *    4 x  256 x 768      3.8            4 x 256 x 32768              10.5
 *   16 x  256 x 768              3.8    8 x 256 x 32768                         15.8
 *   64 x  256 x 768              4.9
 *    4 x 1024 x 256      7.4
 */
export const productShapes = {
  large: { rows: 128, columns: 128, depth: 16, threadRows: 16, threadColumns: 8 },
  middle: { rows: 128, columns: 64, depth: 16, threadRows: 8, threadColumns: 8 },
  medium: { rows: 64, columns: 64, depth: 32, threadRows: 4, threadColumns: 8 },
  small: { rows: 32, columns: 32, depth: 32, threadRows: 4, threadColumns: 4 },
  rows16: { rows: 16, columns: 8, depth: 128, threads: 128 },
  rows4: { rows: 4, columns: 8, depth: 128, threads: 64 },
  rows8Wide: { rows: 8, columns: 64, depth: 32, threads: 128 },
  rows4Wide: { rows: 4, columns: 64, depth: 32, threads: 64 },
  rows1Wide: { rows: 1, columns: 64, depth: 32, threads: 64 },
} satisfies Record<string, TileShape | RowsShape>

export type ProductShapeName = keyof typeof productShapes

export function productOf(name: ProductShapeName): ProductTile {
  const shape: TileShape | RowsShape = productShapes[name]
  return 'threads' in shape ? productRows(shape) : productTile(shape)
}

/**
 * Number of columns from which a workgroup of few rows takes 64 of them: the device is full all the same, and each row
 * of B is read contiguously.
 */
const wide = 4096

/**
 * The shape for a product of at most this many rows and columns: the largest tile that still gives a large device
 * enough workgroups. Does not affect the bits of the result.
 */
export function chooseProductShape(rows: number, columns: number): ProductShapeName {
  const workgroups = (name: ProductShapeName) =>
    Math.ceil(rows / productShapes[name].rows) * Math.ceil(columns / productShapes[name].columns)
  if (columns >= wide && rows <= 16) return rows === 1 ? 'rows1Wide' : rows <= 4 ? 'rows4Wide' : 'rows8Wide'
  if (rows <= 4) return 'rows4'
  if (rows <= 16) return 'rows16'
  // 256 and 128: where the next larger tile became faster in the table above.
  if (workgroups('large') >= 256) return 'large'
  if (workgroups('middle') >= 256) return 'middle'
  if (workgroups('medium') >= 128) return 'medium'
  return rows <= 64 ? 'rows16' : 'small'
}
