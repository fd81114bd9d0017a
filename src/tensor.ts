import { describe, RoutedAttentionError } from './errors.js'
import { createRandom } from './random.js'
import { isFloat32Array } from './realm.js'

/** A dense, row-major float32 array with a shape. */
export class Tensor {
  /** The values in row-major order. */
  readonly data: Float32Array
  /** Dimensions, outermost first. */
  readonly shape: readonly number[]

  /**
   * @param data one value per element of the shape; not copied
   * @param shape dimensions, outermost first; integers, at least 0
   * @throws RoutedAttentionError `BAD_ARGUMENT` for anything else
   */
  constructor(data: Float32Array, shape: readonly number[]) {
    const size = checkShape(shape)
    if (!isFloat32Array(data)) throw new RoutedAttentionError('BAD_ARGUMENT', `Tensor data must be a Float32Array, got ${describe(data)}`)
    if (data.length !== size) {
      throw new RoutedAttentionError(
        'BAD_ARGUMENT',
        `Tensor data must hold ${size} values for shape [${shape.join(', ')}], got ${data.length}`,
      )
    }
    this.data = data
    this.shape = [...shape]
  }

  /**
   * A tensor of zeros.
   * @throws RoutedAttentionError `BAD_ARGUMENT` for an invalid shape, `OUT_OF_MEMORY`
   */
  static zeros(shape: readonly number[]): Tensor {
    return new Tensor(allocate(checkShape(shape)), shape)
  }

  /**
   * A tensor of standard normal values. The same seed gives the same values everywhere; without a seed they differ each
   * time.
   * @throws RoutedAttentionError as `zeros`, and `BAD_ARGUMENT` for an invalid seed
   */
  static randn(shape: readonly number[], seed?: number): Tensor {
    const data = allocate(checkShape(shape))
    const random = createRandom(seed)
    for (let i = 0; i < data.length; i++) data[i] = random.normal()
    return new Tensor(data, shape)
  }
}

function allocate(size: number): Float32Array {
  try {
    return new Float32Array(size)
  } catch (cause) {
    throw new RoutedAttentionError('OUT_OF_MEMORY', `cannot allocate a tensor of ${size} values`, { cause })
  }
}

function checkShape(shape: unknown): number {
  if (!Array.isArray(shape)) throw new RoutedAttentionError('BAD_ARGUMENT', `a shape must be an array of integers, got ${describe(shape)}`)
  let size = 1
  for (const length of shape as unknown[]) {
    if (!Number.isSafeInteger(length) || (length as number) < 0) {
      throw new RoutedAttentionError('BAD_ARGUMENT', `a shape must hold integers from 0, got ${describe(length)}`)
    }
    size *= length as number
  }
  if (!Number.isSafeInteger(size)) throw new RoutedAttentionError('BAD_ARGUMENT', `shape [${shape.join(', ')}] has too many elements`)
  return size
}
