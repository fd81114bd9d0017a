/* The golden cases, read and made as test/golden/README.md says, with nothing but what every runtime has. */

/** @param {(path: string) => Promise<Uint8Array>} read */
export async function layerCases(read) {
  /** @type {any[]} */
  const cases = JSON.parse(new TextDecoder().decode(await read('golden/cases.json')))
  return cases.map((stored) => ({
    name: stored.name,
    options: camelCase(stored.config),
    tolerance: 4 * stored.float32_error + 1e-6,
    webGpuTolerance: webGpuTolerance(stored),
    make: async (/** @type {import('routed-attention')} */ { Tensor }) => ({
      input: new Tensor(makeInput(stored.input), stored.input.shape),
      parameters: new Map(
        stored.parameters.map((/** @type {any} */ recipe) => [recipe.name, new Tensor(makeValues(recipe), recipe.shape)]),
      ),
      forwardOptions: {
        ...camelCase(stored.forward),
        ...(stored.rotary && { rotaryEmb: new Tensor(makeValues(stored.rotary), stored.rotary.shape) }),
      },
      expected: tensors(await read(`golden/${stored.name}.safetensors`)).out,
    }),
    /** The tokens of `out` that are stored, out of all. @param {Float32Array} data */
    stored(data) {
      const [batch, length, dim] = stored.input.shape
      const rows = []
      for (let b = 0; b < batch; b++)
        for (let t = 0; t < length; t += stored.token_stride)
          rows.push(...data.subarray((b * length + t) * dim, (b * length + t + 1) * dim))
      return rows
    },
  }))
}

/**
 * A small model: its files as `LanguageModel.load` takes them, and what it answers.
 * @param {(path: string) => Promise<Uint8Array>} read
 * @param {string} name
 */
export async function modelFiles(read, name) {
  /** @type {any} */
  const stored = JSON.parse(new TextDecoder().decode(await read('golden/models.json'))).find((/** @type {any} */ one) => one.name === name)
  /** @type {Record<string, { dtype: string, shape: number[], data_offsets: number[] }>} */
  const header = {}
  const values = []
  let offset = 0
  for (const recipe of stored.parameters) {
    const data = makeValues(recipe)
    header[recipe.name] = { dtype: 'F32', shape: recipe.shape, data_offsets: [offset, (offset += data.byteLength)] }
    values.push(data)
  }
  const text = new TextEncoder().encode(JSON.stringify(header))
  const length = new BigUint64Array([BigInt(text.length)])
  const weights = new Uint8Array(await new Blob([length, text, .../** @type {BlobPart[]} */ (values)]).arrayBuffer())
  return {
    files: new Map([
      ['config.json', new TextEncoder().encode(JSON.stringify(stored.config))],
      ['model.safetensors', weights],
    ]),
    inputIds: /** @type {number[]} */ (stored.input_ids),
    logits: /** @type {Float32Array} */ (tensors(await read(`golden/${name}.safetensors`)).logits),
    webGpuTolerance: webGpuTolerance(stored),
  }
}

/**
 * A GPU's exponential and division may be off by a few units in the last place more.
 * @param {{ float32_error: number }} stored
 */
function webGpuTolerance({ float32_error }) {
  return 8 * float32_error + 1e-5
}

/** @param {Record<string, unknown>} options PyTorch's names */
function camelCase(options) {
  return Object.fromEntries(
    Object.entries(options).map(([name, value]) => [name.replace(/_(\w)/g, (_, letter) => letter.toUpperCase()), value]),
  )
}

/** @param {{ shape: number[], seed: number, scale: number, offset: number }} recipe */
function makeValues({ shape, seed, scale, offset }) {
  const data = new Float32Array(shape.reduce((size, length) => size * length, 1))
  const start = Math.imul(seed, 0x9e3779b1)
  for (let i = 0; i < data.length; i++) {
    let h = (i + start) | 0
    h ^= h >>> 16
    h = Math.imul(h, 0x85ebca6b)
    h ^= h >>> 13
    h = Math.imul(h, 0xc2b2ae35)
    h ^= h >>> 16
    data[i] = ((h >>> 8) * 2 ** -23 - 1) * scale + offset
  }
  return data
}

/** @param {any} recipe the row of each token where tokens repeat, -1 for zeros */
function makeInput(recipe) {
  const data = makeValues(recipe)
  if (!recipe.rows) return data
  const dim = recipe.shape.at(-1)
  const made = data.slice()
  recipe.rows.flat().forEach((/** @type {number} */ row, /** @type {number} */ i) => {
    if (row < 0) data.fill(0, i * dim, (i + 1) * dim)
    else data.set(made.subarray(row * dim, (row + 1) * dim), i * dim)
  })
  return data
}

/** The float32 and int32 tensors of a safetensors file. @param {Uint8Array} bytes @returns {Record<string, any>} */
export function tensors(bytes) {
  const length = Number(new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0, true))
  const header = JSON.parse(new TextDecoder().decode(bytes.subarray(8, 8 + length)))
  /** @type {Record<string, Float32Array | Int32Array>} */
  const found = {}
  for (const [name, { dtype, data_offsets }] of Object.entries(header)) {
    // Not bytes.slice, of which Node's Buffer makes a view.
    const data = Uint8Array.from(bytes.subarray(8 + length + data_offsets?.[0], 8 + length + data_offsets?.[1])).buffer
    if (dtype === 'F32') found[name] = new Float32Array(data)
    if (dtype === 'I32') found[name] = new Int32Array(data)
  }
  return found
}
