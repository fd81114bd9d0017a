/** What PyTorch trains and exports is what the package runs: the files fit, and logits and bits agree. */
import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, describe, expect, test } from 'vitest'
import { LanguageModel } from '../../src/index.js'
import { findPython } from '../support/python.mjs'

const root = fileURLToPath(new URL('../..', import.meta.url))
const folder = mkdtempSync(join(tmpdir(), 'routed-attention-training-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const python = findPython()

function runPython(...args: string[]): string {
  const env = { ...process.env, PYTHONPATH: join(root, 'training'), OMP_NUM_THREADS: '1' }
  return execFileSync(python!, args, { env, encoding: 'utf8', maxBuffer: 2 ** 26, stdio: ['ignore', 'pipe', 'pipe'] })
}

/** Logits of a folder's model in float64, and how far PyTorch's own float32 is from them. */
const LOGITS = `
import json, sys, torch
from routed_attention_training import Transformer
from routed_attention_training.safetensors import read_safetensors
model = Transformer.from_config(json.load(open(sys.argv[1] + '/config.json'))).eval()
model.load_state_dict({name: tensor.float() for name, tensor in read_safetensors(sys.argv[1] + '/model.safetensors')[0].items()})
ids = torch.tensor([json.loads(sys.argv[2])])
with torch.no_grad():
    single, double = model(ids)[0].double(), model.double()(ids)[0]
print(json.dumps({'logits': double.flatten().tolist(), 'own': (single - double).abs().max().item()}))
`

interface Logits {
  readonly logits: readonly number[]
  readonly own: number
}

const small = [
  '--dim=16', '--depth=2', '--heads=2', '--dim-head=8', '--local-attn-window-size=16', '--num-routed-queries=4', '--num-routed-key-values=8',
  '--context=64', '--batch=4', '--sample=0', '--device=cpu', '--warmup=5', '--steps=40', '--seed=3',
] // prettier-ignore

describe.skipIf(python === undefined)('a model trained in PyTorch (needs python3-torch)', () => {
  test.each(['float32', 'float16', 'bfloat16'])('as %s gives the same logits and bits per token as PyTorch', async (dtype) => {
    const text = join(folder, 'text.txt')
    writeFileSync(text, readFileSync(join(root, 'models/novels-10m/treasure-island.txt')).subarray(0, 20_000))
    const out = join(folder, dtype)
    const told = runPython('-m', 'routed_attention_training.train', text, '--out', out, '--dtype', dtype, ...small)

    const model = await LanguageModel.load(out)
    try {
      const validation = readFileSync(join(out, 'training/validation.txt'))
      const ids = [...validation.subarray(0, 300)]
      const { logits, own } = JSON.parse(runPython('-c', LOGITS, out, JSON.stringify(ids))) as Logits
      const ours = await model.forward(ids)
      expect(ours.shape).toEqual([300, 257])
      const farthest = logits.reduce((most, value, i) => Math.max(most, Math.abs(value - ours.data[i]!)), 0)
      expect(farthest).toBeLessThanOrEqual(8 * own + 1e-6)

      const { bitsPerToken } = await model.evaluate(validation)
      const measured = Number(/validation: ([\d.]+) bits a byte; the model/.exec(told)?.[1])
      expect(Math.abs(bitsPerToken - measured)).toBeLessThanOrEqual(1e-4)
    } finally {
      model.dispose()
    }
  })
})
