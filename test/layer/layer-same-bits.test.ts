import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { MixtureOfAutoregressiveAttention } from '../../src/model/layer.js'
import { initialLayerParameters } from '../../src/model/parameters/state-dict.js'
import { createRandom } from '../../src/random.js'
import { Tensor } from '../../src/tensor.js'
import {
  cases,
  causalOptions,
  type DrawnCase,
  longCases,
  makeForwardOptions,
  makeInput,
  makeParameters,
  prefixes,
  sequences,
} from '../support/arbitraries.js'
import { expectSameBits, expectSameTrace, traceNames } from '../support/bits.js'
import { places, runtimeOf, traced, withLayer } from '../support/drawn-layers.js'
import { runs } from '../support/seed.js'

// Time is no promise of these tests: the machine may be busy.

describe('the layer', () => {
  test('computes each sequence of a batch as if alone', async () => {
    await fc.assert(
      fc.asyncProperty(cases(), places, async (drawn, place) => {
        const { x } = makeInput(drawn)
        const forward = makeForwardOptions(drawn)
        const all = await traced(place, drawn, x, forward)
        for (let b = 0; b < drawn.call.batch; b++) {
          const alone = await traced(place, drawn, sequences(x, b), forward)
          for (const name of traceNames) {
            expectSameBits(alone[name], sequences(all[name], b))
          }
        }
      }),
      runs(80),
    )
  })

  test('permutes its output with the batch', async () => {
    await fc.assert(
      fc.asyncProperty(cases(), places, async (drawn, place) => {
        const { batch, seed } = drawn.call
        const { x } = makeInput(drawn)
        const forward = makeForwardOptions(drawn)
        const order = shuffled([...Array(batch).keys()], seed)
        const permute = (tensor: Tensor) => {
          const moved = Tensor.zeros(tensor.shape)
          order.forEach((from, to) => moved.data.set(sequences(tensor, from).data, (to * tensor.data.length) / batch))
          return moved
        }
        await withLayer(runtimeOf(place), drawn.options, seed, async (layer) => {
          expectSameBits(await layer.forward(permute(x), forward), permute(await layer.forward(x, forward)))
        })
      }),
      runs(60),
    )
  })

  test('gives the same bits on any number of partitions, and on a checked build as on the shipped one', async () => {
    await fc.assert(
      fc.asyncProperty(cases(), fc.constantFrom('baseline' as const, 'relaxed' as const), async (drawn, build) => {
        const { x } = makeInput(drawn)
        const forward = makeForwardOptions(drawn)
        const expected = await traced({ build, partitions: 1 }, drawn, x, forward)
        for (const partitions of [2, 3, 4, 5]) expectSameTrace(await traced({ build, partitions }, drawn, x, forward), expected)
        expectSameTrace(await traced({ build: `checked-${build}`, partitions: 3 }, drawn, x, forward), expected)
      }),
      runs(60),
    )
  })

  test('gives the same bits with and without a trace, and however often it is called', async () => {
    await fc.assert(
      fc.asyncProperty(cases(), places, async (drawn, place) => {
        const { x } = makeInput(drawn)
        const forward = makeForwardOptions(drawn)
        await withLayer(runtimeOf(place), drawn.options, drawn.call.seed, async (layer) => {
          const first = await layer.forward(x, forward)
          expectSameBits((await layer.forward(x, { ...forward, trace: true })).out, first)
          expectSameBits(await layer.forward(x, forward), first)
        })
      }),
      runs(60),
    )
  })

  test('computes an override like a layer with those options, and shared angles like the same ones for each head', async () => {
    await fc.assert(
      fc.asyncProperty(cases(), places, async (drawn, place) => {
        const { options, call } = drawn
        const { x } = makeInput(drawn)
        const { rotaryEmb, ...overrides } = makeForwardOptions(drawn)
        const expected = await traced(place, drawn, x, { ...overrides, rotaryEmb: rotaryEmb ?? null })
        const angles = rotaryEmb?.shape[1] === options.dimHead ? repeatedColumns(rotaryEmb, options.heads) : rotaryEmb
        const stated = { options: { ...options, ...overrides }, call }
        expectSameTrace(await traced(place, stated, x, { rotaryEmb: angles ?? null }), expected)
      }),
      runs(60),
    )
  })

  test("accepts a state dict in any order, as a Map or a record, with PyTorch's buffers among the parameters", async () => {
    await fc.assert(
      fc.asyncProperty(cases(), places, async (drawn, place) => {
        const { options, call } = drawn
        const { x } = makeInput(drawn)
        const forward = makeForwardOptions(drawn)
        const parameters = makeParameters(options, call.seed)
        const buffers = ['local_attn.attn_fn.rel_pos.inv_freq', 'local_attn.attn_fn.rel_pos.scale'].map(
          (name) => [name, Tensor.randn([3], 1)] as [string, Tensor],
        )
        const entries = shuffled([...parameters, ...buffers], call.seed)
        await withLayer(runtimeOf(place), options, call.seed, async (layer) => {
          const expected = await layer.forward(x, forward)
          for (const dict of [
            new Map(entries),
            Object.fromEntries(entries),
            Object.assign(Object.create(null), Object.fromEntries(entries)),
          ]) {
            layer.loadStateDict(makeParameters(options, call.seed + 1))
            layer.loadStateDict(dict)
            expectSameBits(await layer.forward(x, forward), expected)
          }
        })
      }),
      runs(30),
    )
  })

  test('starts with parameters that depend on its seed only, the same everywhere', async () => {
    await fc.assert(
      fc.asyncProperty(cases(), places, async (drawn, place) => {
        const { options, call } = drawn
        const { x } = makeInput(drawn)
        const forward = makeForwardOptions(drawn)
        const first = new MixtureOfAutoregressiveAttention(runtimeOf(place), options, { seed: call.seed })
        const second = new MixtureOfAutoregressiveAttention(runtimeOf(place), options, { seed: call.seed })
        const loaded = new MixtureOfAutoregressiveAttention(runtimeOf(place), options)
        loaded.loadStateDict(initialLayerParameters(first.options, call.seed))
        const expected = await first.forward(x, forward)
        expectSameBits(await second.forward(x, forward), expected)
        expectSameBits(await loaded.forward(x, forward), expected)
        for (const layer of [first, second, loaded]) layer.dispose()
      }),
      runs(30),
    )
  })

  test('keeps NaN and infinity in one sequence of a batch from the others, and from later calls', async () => {
    await fc.assert(
      fc.asyncProperty(cases(), places, fc.nat(), async ({ options, call }, place, seed) => {
        const drawn = { options, call: { ...call, batch: call.batch + 1 } }
        const { batch, length } = drawn.call
        fc.pre(length > 0)
        const { x } = makeInput(drawn)
        const forward = makeForwardOptions(drawn)
        const random = createRandom(seed)
        const among = (count: number) => Math.floor(random.uniform() * count)
        const victim = among(batch)
        const poisoned = new Tensor(x.data.slice(), x.shape)
        const size = length * options.dim
        for (let i = 0; i <= among(6); i++) {
          poisoned.data[victim * size + among(size)] = [NaN, Infinity, -Infinity, 3e38, -3e38, 1e-45][among(6)]!
        }
        await withLayer(runtimeOf(place), options, call.seed, async (layer) => {
          const clean = await layer.forward(x, { ...forward, trace: true })
          const trace = await layer.forward(poisoned, { ...forward, trace: true })
          for (const name of traceNames) {
            for (let b = 0; b < batch; b++) {
              if (b !== victim) expectSameBits(sequences(trace[name], b), sequences(clean[name], b))
            }
          }
          expectSameTrace(await layer.forward(x, { ...forward, trace: true }), clean)
        })
      }),
      runs(120),
    )
  })

  test('completes for any parameters and angles', async () => {
    const odd = fc.constantFrom(NaN, Infinity, -Infinity, 3e38, -3e38)
    await fc.assert(
      fc.asyncProperty(cases(), places, odd, fc.nat(), async (drawn, place, value, seed) => {
        const { options, call } = drawn
        const { x } = makeInput(drawn)
        const forward = makeForwardOptions(drawn)
        const random = createRandom(seed)
        const spoil = ({ data }: Tensor) => data.fill(value, Math.floor(random.uniform() * data.length))
        const parameters = makeParameters(options, call.seed)
        for (const tensor of parameters.values()) if (random.uniform() < 0.2) spoil(tensor)
        if (forward.rotaryEmb) spoil(forward.rotaryEmb)
        await withLayer(runtimeOf(place), options, call.seed, async (layer) => {
          const clean = await layer.forward(x, makeForwardOptions(drawn))
          layer.loadStateDict(parameters)
          expect((await layer.forward(x, forward)).shape).toEqual(x.shape)
          layer.loadStateDict(makeParameters(options, call.seed))
          expectSameBits(await layer.forward(x, makeForwardOptions(drawn)), clean)
        })
      }),
      runs(60),
    )
  })
})

describe('a causal layer', () => {
  test('gives a prefix the same output, whatever follows', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.oneof({ weight: 7, arbitrary: cases(causalOptions) }, { weight: 1, arbitrary: longCases.map(causally) }),
        places,
        fc.nat(),
        async (drawn, place, cut) => {
          const { options, call } = drawn
          const length = cut % (call.length + 1)
          const { x } = makeInput(drawn)
          const { rotaryEmb, ...overrides } = makeForwardOptions(drawn)
          const angles = (tokens: number) => (rotaryEmb ? sequences(rotaryEmb, 0, tokens) : null)
          const other = Tensor.randn(x.shape, call.seed + 3)
          for (let b = 0; b < call.batch; b++) {
            const start = b * call.length * options.dim
            const end = start + length * options.dim
            other.data.set(x.data.subarray(start, end), start)
          }
          await withLayer(runtimeOf(place), options, call.seed, async (layer) => {
            const prefix = await layer.forward(prefixes(x, length), { ...overrides, rotaryEmb: angles(length) })
            expectSameBits(prefix, prefixes(await layer.forward(x, { ...overrides, rotaryEmb: angles(call.length) }), length))
            expectSameBits(prefix, prefixes(await layer.forward(other, { ...overrides, rotaryEmb: angles(call.length) }), length))
          })
        },
      ),
      runs(80),
    )
  })
})

test('local attention is causal in every layer', async () => {
  await fc.assert(
    fc.asyncProperty(cases(), places, fc.nat(), async (drawn, place, cut) => {
      const length = cut % (drawn.call.length + 1)
      const { x } = makeInput(drawn)
      const whole = await traced(place, drawn, x, {})
      expectSameBits((await traced(place, drawn, prefixes(x, length), {})).localOut, prefixes(whole.localOut, length))
    }),
    runs(50),
  )
})

/** The same case for a strictly causal layer. */
function causally({ options, call }: DrawnCase): DrawnCase {
  return { options: { ...options, causal: true, selection: 'top-k', straightThrough: true, averageRouted: false }, call }
}

function repeatedColumns(angles: Tensor, times: number): Tensor {
  const [rows, width] = angles.shape as [number, number]
  const data = Float32Array.from(
    { length: rows * width * times },
    (_, i) => angles.data[Math.floor(i / (width * times)) * width + (i % width)]!,
  )
  return new Tensor(data, [rows, width * times])
}

function shuffled<T>(items: readonly T[], seed: number): T[] {
  const random = createRandom(seed)
  const keys = new Map(items.map((item) => [item, random.uniform()]))
  return [...items].sort((a, b) => keys.get(a)! - keys.get(b)!)
}
