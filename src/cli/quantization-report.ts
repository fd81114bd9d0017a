import type { ActivationBits, EvaluateProgress, ModelSource } from '../index.js'
import { countAgreements, measureQuality, type Quality } from '../model/quantization/quality.js'
import { withActivationBits } from '../model/quantization/quantize-model.js'
import type { Terminal } from './command.js'
import { formatCount, formatProgress, formatRuntime, formatTable } from './format.js'
import { loadModel, type LoadValues, type RunValues, withRuntime } from './model-source.js'
import { encodeText } from './text-input.js'

const ACTIVATION_BITS: readonly ActivationBits[] = [7, 14]

/** What is compared, and the text to compare it on. */
interface Comparison {
  readonly source: ModelSource
  /** The name of the source, for the status line. */
  readonly place: string
  /** The files of the quantized model. */
  readonly files: ReadonlyMap<string, Uint8Array>
  readonly text: string
}

/**
 * Prints how a quantized model, with activations of 7 and of 14 bits, predicts a text, next to its original. The models
 * are loaded one after the other.
 */
export function printReport({ source, place, files, text }: Comparison, values: RunValues & LoadValues, terminal: Terminal): Promise<void> {
  const { status, signal } = terminal
  return withRuntime(values, terminal, async (runtime) => {
    let ids: readonly number[] | undefined
    const measure = async (from: ModelSource, name: string): Promise<Quality> => {
      const model = await loadModel(from, name, runtime, values, terminal, 'prefill')
      try {
        ids ??= await encodeText(model, text, terminal)
        const begin = performance.now()
        const onProgress = ({ done, total }: EvaluateProgress) =>
          status.show(() => `${name}: ${formatProgress(done, total, (performance.now() - begin) / 1000)}`)
        return await measureQuality(model, ids, { signal, onProgress })
      } finally {
        status.clear()
        model.dispose()
      }
    }

    const original = await measure(source, place)
    const rows: [string, string][] = [['original', inBits(original.bitsPerToken)]]
    for (const bits of ACTIVATION_BITS) {
      const name = `int8, ${bits}-bit activations`
      const quality = await measure(withActivationBits(files, bits), name)
      rows.push([name, compare(quality, original)])
    }
    rows.push(['tokens predicted', formatCount(original.tokens)], ['runs on', formatRuntime(runtime.info)])
    await terminal.print(formatTable(rows))
  })
}

function inBits(bitsPerToken: number): string {
  return `${bitsPerToken.toFixed(5)} bits per token`
}

function compare({ bitsPerToken, choices }: Quality, original: Quality): string {
  const difference = bitsPerToken - original.bitsPerToken
  const agreements = countAgreements(choices, original.choices)
  return `${inBits(bitsPerToken)} (${difference < 0 ? '−' : '+'}${Math.abs(difference).toFixed(5)}), same greedy choice at ${formatCount(agreements)} of ${formatCount(choices.length)} positions`
}
