/*
 * Just enough of ONNX's protobuf to write a model of one MatMul: y = x · b, b constant, so that a runtime may pack it once as ours does.
 */

function varint(value) {
  const bytes = []
  for (; value > 127; value = Math.floor(value / 128)) bytes.push((value % 128) | 128)
  bytes.push(value)
  return Buffer.from(bytes)
}

const number = (field, value) => Buffer.concat([varint(field * 8), varint(value)])
const bytes = (field, value) => Buffer.concat([varint(field * 8 + 2), varint(value.length), value])
const text = (field, value) => bytes(field, Buffer.from(value))
const message = (field, ...parts) => bytes(field, Buffer.concat(parts))

const FLOAT = 1

function valueInfo(field, name, shape) {
  const dimensions = shape.map((size) => message(1, number(1, size)))
  return message(field, text(1, name), message(2, message(1, number(1, FLOAT), message(2, ...dimensions))))
}

/** @param b (k, n), row-major */
export function matMulModel(m, k, n, b) {
  const node = message(1, text(1, 'x'), text(1, 'b'), text(2, 'y'), text(4, 'MatMul'))
  const raw = Buffer.from(b.buffer, b.byteOffset, b.byteLength)
  const initializer = message(5, number(1, k), number(1, n), number(2, FLOAT), text(8, 'b'), bytes(9, raw))
  const graph = message(7, node, text(2, 'product'), initializer, valueInfo(11, 'x', [m, k]), valueInfo(12, 'y', [m, n]))
  return Buffer.concat([number(1, 8), graph, message(8, number(2, 16))])
}
