/** One small layer of each kind, what to ask of it, and what no call should be given. */
import type { Runtime } from '../../src/device/runtime.js'
import type { LayerOptions } from '../../src/model/config/config.js'
import { MixtureOfAutoregressiveAttention } from '../../src/model/layer.js'
import { Tensor } from '../../src/tensor.js'

export const published = {
  dim: 12,
  numRoutedQueries: 3,
  numRoutedKeyValues: 7,
  localAttnWindowSize: 10,
  routedWindowSize: 8,
  numExperts: 2,
  dimHead: 6,
  heads: 2,
} satisfies LayerOptions
export const causal = { ...published, causal: true, selection: 'top-k' } satisfies LayerOptions
export const kinds = { published, causal }
export const kindNames = ['published', 'causal'] as const

export const x = Tensor.randn([2, 45, 12], 1)
export const rotaryEmb = Tensor.randn([45, 6], 2)
/** Takes several turns of the event loop. */
export const long = Tensor.randn([4, 600, 12], 3)

export function makeLayer(runtime: Runtime, options: LayerOptions = published, seed = 1): MixtureOfAutoregressiveAttention {
  return new MixtureOfAutoregressiveAttention(runtime, options, { seed })
}

/** Values that no parameter of any call takes, by name. */
export const misfits: readonly (readonly [string, unknown])[] = [
  ['NaN', NaN],
  ['a string', 'x'],
  ['a symbol', Symbol('x')],
  ['a big integer', 5n],
  ['a function', () => 5],
  ['an object without a prototype', Object.create(null)],
  ['an array', [1, 2]],
  ['a Float32Array', new Float32Array(3)],
  ['a proxy', new Proxy({}, {})],
]
/** Null, which is sometimes as good as nothing, and values that some parameter takes. */
export const strangers: readonly (readonly [string, unknown])[] = [['null', null], ['a number', 5], ['a boolean', true], ...misfits]

/** Whether a value is an object of options in which none is given. */
export function isEmptyRecord(value: unknown): value is object {
  return typeof value === 'object' && value !== null && Reflect.ownKeys(value).length === 0
}
