import { parseSafetensors, toFloat32 } from '../../src/io/safetensors.js'
import { Tensor } from '../../src/tensor.js'
import { writeSafetensors } from './write-safetensors.js'

/** The float model that a quantized one's weights stand for. */
export function widen(quantized: ReadonlyMap<string, Uint8Array>) {
  const stored = parseSafetensors(quantized.get('model.safetensors')!)
  const json = JSON.parse(new TextDecoder().decode(quantized.get('config.json'))) as Record<string, unknown>
  delete json['quantization_config']
  const parameters = new Map<string, Tensor>()
  const entries: Parameters<typeof writeSafetensors>[0] = {}
  for (const [name, { dtype, shape, bytes }] of stored) {
    if (name.endsWith('_scale')) continue
    const scale = stored.get(`${name}_scale`)
    const values = scale ? dequantize(bytes, toFloat32(scale, name)) : toFloat32({ dtype, shape, bytes }, name)
    parameters.set(name, new Tensor(values, [...shape]))
    entries[name] = { dtype: 'F32', shape: [...shape], bytes: new Uint8Array(values.buffer) }
  }
  const widened = new Map([
    ...quantized,
    ['config.json', new TextEncoder().encode(JSON.stringify(json))],
    ['model.safetensors', writeSafetensors(entries)],
  ])
  return { files: widened, config: json, parameters }
}

function dequantize(bytes: Uint8Array, scales: Float32Array): Float32Array<ArrayBuffer> {
  const columns = bytes.length / scales.length
  return Float32Array.from(new Int8Array(bytes), (value, i) => value * scales[Math.floor(i / columns)]!)
}
