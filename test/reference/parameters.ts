import { toRows, type Matrix, type Values, type Vector } from './arithmetic.js'

/** A state dict: PyTorch's names and shapes (SPEC section 1). */
export type StateDict = ReadonlyMap<string, Values>

/** A parameter as one vector. */
export function parameter(parameters: StateDict, name: string): Vector {
  const values = parameters.get(name)
  if (values === undefined) throw new Error(`the reference was given no parameter ${name}`)
  return Float64Array.from(values.data)
}

/** A parameter as rows of `columns` values. */
export function parameterRows(parameters: StateDict, name: string, columns: number): Matrix {
  return toRows(parameter(parameters, name), columns)
}

/** The parameters under a prefix, which their names lose. */
export function parametersUnder(parameters: StateDict, prefix: string): StateDict {
  return new Map([...parameters].filter(([name]) => name.startsWith(prefix)).map(([name, values]) => [name.slice(prefix.length), values]))
}
