/*
 * Just enough of ONNX's protobuf to write a graph of operators. The numbers are those of onnx.proto3; fields of a
 * message may come in any order.
 */

function varint(value) {
  const bytes = []
  for (; value > 127; value = Math.floor(value / 128)) bytes.push((value % 128) | 128)
  bytes.push(value)
  return Buffer.from(bytes)
}

const number = (field, value) => Buffer.concat([varint(field * 8), varint(value)])
const float = (field, value) => Buffer.concat([varint(field * 8 + 5), Buffer.from(Float32Array.of(value).buffer)])
const bytes = (field, value) => Buffer.concat([varint(field * 8 + 2), varint(value.length), value])
const text = (field, value) => bytes(field, Buffer.from(value))
const message = (field, ...parts) => bytes(field, Buffer.concat(parts))

/** Element types. */
export const FLOAT = 1
export const INT64 = 7

const elementTypes = new Map([
  [Float32Array, FLOAT],
  [BigInt64Array, INT64],
])

const IR_VERSION = 8
const OPERATORS = 16

/** Operators beyond the standard's, which onnxruntime brings itself. */
export const MICROSOFT = 'com.microsoft'

function valueInfo(field, name, type, shape) {
  const dimensions = shape.map((size) => message(1, typeof size === 'string' ? text(2, size) : number(1, size)))
  return message(field, text(1, name), message(2, message(1, number(1, type), message(2, ...dimensions))))
}

/** Whole numbers are integers, others floats. */
function attribute(name, value) {
  if (Array.isArray(value)) return message(5, text(1, name), ...value.map((item) => number(8, item)), number(20, 7))
  return message(5, text(1, name), ...(Number.isInteger(value) ? [number(3, value), number(20, 2)] : [float(2, value), number(20, 1)]))
}

/**
 * A graph under construction. Tensors are identified by name; a dimension is a size, or a name for one that is only
 * known at run time.
 */
export class OnnxGraph {
  #parts = []
  #names = 0

  input(name, type, shape) {
    this.#parts.push(valueInfo(11, name, type, shape))
    return name
  }

  /** Marks a tensor as a result. */
  output(name, type, shape) {
    this.#parts.push(valueInfo(12, name, type, shape))
  }

  /**
   * @param values row-major, its kind of array giving the type; a runtime may pack it once
   * @param shape a scalar's by default
   */
  constant(values, shape = []) {
    const name = this.#name()
    const raw = Buffer.from(values.buffer, values.byteOffset, values.byteLength)
    this.#parts.push(
      message(5, ...shape.map((size) => number(1, size)), number(2, elementTypes.get(values.constructor)), text(8, name), bytes(9, raw)),
    )
    return name
  }

  /**
   * Applies an operator.
   * @param inputs names of its inputs, '' for one that is left out
   * @param attributes whole numbers from 0 on, fractions, or lists of the former
   * @param outputs names of its outputs, one by default, made up
   * @returns the name of its first output
   */
  apply(operator, inputs, { attributes = {}, outputs = [this.#name()], domain = '' } = {}) {
    this.#parts.push(
      message(
        1,
        ...inputs.map((name) => text(1, name)),
        ...outputs.map((name) => text(2, name)),
        text(4, operator),
        ...Object.entries(attributes).map(([name, value]) => attribute(name, value)),
        text(7, domain),
      ),
    )
    return outputs[0]
  }

  /** @returns the bytes of a model file */
  encode() {
    const imports = [
      ['', OPERATORS],
      [MICROSOFT, 1],
    ].map(([domain, version]) => message(8, text(1, domain), number(2, version)))
    return Buffer.concat([number(1, IR_VERSION), message(7, ...this.#parts, text(2, 'graph')), ...imports])
  }

  #name() {
    return `t${this.#names++}`
  }
}

/**
 * y (m, n) = x (m, k) · b (k, n), b constant, so that a runtime may pack it once as ours does.
 * @param b row-major
 */
export function matMulModel(m, k, n, b) {
  const graph = new OnnxGraph()
  const x = graph.input('x', FLOAT, [m, k])
  graph.apply('MatMul', [x, graph.constant(b, [k, n])], { outputs: ['y'] })
  graph.output('y', FLOAT, [m, n])
  return graph.encode()
}
