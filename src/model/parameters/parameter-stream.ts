import { type ByteScanner, float32Values, formatBytes, type ParameterValues, WeightFormat, type WeightPacker } from '../../device/device.js'
import { isFiniteFloat16 } from '../../half.js'
import type { WeightsSink } from '../../io/model-files.js'
import { byteSize, type TensorInfo, toFloat32 } from '../../io/safetensors.js'
import { modelParameters } from '../../plan/parameters.js'
import type { ModelConfig } from '../config/config.js'
import { checkScales, quantizeParameter, scaleName } from '../quantization/quantized-parameters.js'
import { Checksum } from './checksum.js'
import { fingerprintOf } from './fingerprint.js'
import { pick, type StoredNames } from './state-dict.js'
import { WholeRows } from './whole-rows.js'

const FORMATS: Readonly<Record<string, WeightFormat>> = {
  F32: WeightFormat.Float32,
  F16: WeightFormat.Float16,
  BF16: WeightFormat.Bfloat16,
  I8: WeightFormat.Int8,
}

/** How a tensor of a type is kept in memory, unless its values forbid it. */
export function formatOf(dtype: string): WeightFormat {
  return FORMATS[dtype] ?? WeightFormat.Float32
}

/** What a stream needs to know of a model. */
export interface StreamedModel {
  readonly config: ModelConfig
  /** The file's tensors. */
  readonly tensors: ReadonlyMap<string, TensorInfo>
  readonly names: StoredNames
  /** Whether float weights are rounded to int8. */
  readonly isRounded: boolean
  /** Parameters with float16 values that are infinite or NaN, as far as is known: they are packed as float32. */
  readonly nonFinite: Set<string>
}

/** Packs rows of parameters. */
export type RowSink = Pick<WeightPacker, 'put' | 'putScales'>

/**
 * Checks a model's tensors as they arrive, and passes their rows on: as they are in the file, or as float32 where kernels
 * read no such format. Holds no more than a row of a tensor.
 */
export class ParameterStream implements WeightsSink {
  readonly #model: StreamedModel
  readonly #check: () => void
  readonly #readers = new Map<string, TensorReader>()
  /** Set if tensors are known to be unfit for the places that were planned for them. */
  #isUnfit = false

  /**
   * @param rows takes the rows
   * @param check called with each piece; anything it throws ends the load
   */
  constructor(model: StreamedModel, rows: RowSink, scanner: ByteScanner | undefined, check: () => void) {
    this.#model = model
    this.#check = check
    const { config, names } = model
    const tensors = pick(names, model.tensors)
    for (const { name, inputs, isQuantizable } of modelParameters(config)) {
      const { dtype } = tensors.get(name)!
      const columns = inputs.segments * inputs.size
      let take = (first: number, values: ParameterValues) => rows.put(name, first, values)
      if (dtype === 'I8') {
        const scales = scaleName(name)
        const takeScales = (first: number, values: Float32Array) => {
          checkScales(scales, first, values)
          rows.putScales(name, first, values)
        }
        const reader = new TensorReader('F32', 1, scanner, (first, { bytes }) => takeScales(first, floatsOf(bytes)))
        this.#readers.set(names.get(scales)!, reader)
      } else if (model.isRounded && isQuantizable) {
        take = (first, values) => {
          const numRows = values.bytes.length / (columns * formatBytes(values.format))
          // float64 has become float32 by now
          const tensor = { dtype: values.format === WeightFormat.Float32 ? 'F32' : dtype, shape: [], bytes: values.bytes }
          const { values: integers, scales } = quantizeParameter(name, tensor, numRows)
          rows.put(name, first, { format: WeightFormat.Int8, bytes: new Uint8Array(integers.buffer) })
          rows.putScales(name, first, scales)
        }
      } else if (formatOf(dtype) === WeightFormat.Float16) {
        const pack = take
        const isFinite = scanner ? (bytes: Uint8Array) => scanner.isFiniteFloat16(bytes) : isFiniteFloat16
        take = (first, values) => {
          if (!model.nonFinite.has(name) && !isFinite(values.bytes)) {
            model.nonFinite.add(name)
            this.#isUnfit = true
          }
          pack(first, values)
        }
      }
      this.#readers.set(names.get(name)!, new TensorReader(dtype, columns, scanner, take))
    }
  }

  write(name: string, from: number, bytes: Uint8Array): void {
    this.#check()
    const reader = this.#readers.get(name)
    if (!reader) return // one of PyTorch's buffers, not a parameter
    // scales may have been those of the tensor as it was
    if (from === 0 && reader.isBegun && this.#model.config.quantization) this.#isUnfit = true
    reader.write(from, bytes)
  }

  get mustBeReadAgain(): boolean {
    return this.#isUnfit
  }

  /** Called once all tensors have come. */
  fingerprint(): Uint8Array {
    const { config, names, tensors } = this.#model
    const checksums = new Map([...names].map(([name, stored]) => [name, this.#readers.get(stored)!.checksum()]))
    return fingerprintOf(config, pick(names, tensors), checksums)
  }
}

/** Reads one tensor. */
class TensorReader {
  readonly #dtype: string
  readonly #rowBytes: number
  readonly #scanner: ByteScanner | undefined
  readonly #take: (first: number, values: ParameterValues) => void
  #checksum: Checksum
  #rows: WholeRows | undefined

  /** @param columns values of a row; @param take given whole rows: as they are, or float64 as float32 */
  constructor(dtype: string, columns: number, scanner: ByteScanner | undefined, take: (first: number, values: ParameterValues) => void) {
    this.#dtype = dtype
    this.#rowBytes = byteSize({ dtype, shape: [columns] })!
    this.#scanner = scanner
    this.#take = take
    this.#checksum = new Checksum(scanner)
  }

  get isBegun(): boolean {
    return this.#rows !== undefined
  }

  write(from: number, bytes: Uint8Array): void {
    if (from === 0) {
      this.#checksum = new Checksum(this.#scanner)
      this.#rows = new WholeRows(this.#rowBytes, (first, rows) => this.#take(first, this.#valuesOf(rows)))
    }
    this.#checksum.update(bytes)
    this.#rows!.write(bytes)
  }

  #valuesOf(bytes: Uint8Array): ParameterValues {
    const dtype = this.#dtype
    if (dtype === 'F64') return float32Values(toFloat32({ dtype, shape: [], bytes }, 'a parameter'))
    return { format: formatOf(dtype), bytes }
  }

  checksum(): Uint8Array {
    return this.#checksum.digest()
  }
}

function floatsOf(bytes: Uint8Array): Float32Array {
  return new Float32Array(bytes.slice().buffer, 0, bytes.length / formatBytes(WeightFormat.Float32))
}
