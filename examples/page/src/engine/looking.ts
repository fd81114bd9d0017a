import type { Inspection, LayerInspection, Session } from 'routed-attention'
import type { Choice, ExpertLook, HeldNow, LayerLook, Piece } from '../protocol.js'
import { wholeWord } from '../whole-word.js'
import type { TokenTexts } from './token-texts.js'

/** The likeliest tokens after some logits, and one that was chosen, with their probabilities at temperature 1. */
export function choicesOf(logits: Float32Array, chosen: number, count: number, texts: TokenTexts): { choices: Choice[]; chosen: Choice } {
  const most = logits.reduce((a, b) => Math.max(a, b), -Infinity)
  const sum = logits.reduce((total, logit) => total + Math.exp(logit - most), 0)
  const choice = (id: number): Choice => ({ id, text: texts.of(id), probability: Math.exp(logits[id]! - most) / sum })
  const best: number[] = []
  for (let id = 0; id < logits.length; id++) {
    if (best.length === count && logits[id]! <= logits[best.at(-1)]!) continue
    const at = best.findIndex((other) => logits[other]! < logits[id]!)
    best.splice(at < 0 ? best.length : at, 0, id)
    if (best.length > count) best.pop()
  }
  return { choices: best.map(choice), chosen: choice(chosen) }
}

export function layerLooks({ layers }: Inspection): LayerLook[] {
  return layers.map((layer, index) => {
    const { localPositions, localWeights, isQuery } = layer
    return {
      layer: index,
      localStart: localPositions[0] ?? 0,
      local: mean(localWeights),
      localByHead: joined(localWeights),
      experts: isQuery.map((_, expert) => expertLook(layer, expert)),
    }
  })
}

function expertLook({ routerScores, isQuery, heldPositions, routedWeights }: LayerInspection, expert: number): ExpertLook {
  const weights = routedWeights[expert]
  return {
    isQuery: isQuery[expert]!,
    queryScore: routerScores[0][expert]!,
    keyScore: routerScores[1][expert]!,
    held: Int32Array.from(heldPositions[expert]!),
    weights: weights ? mean(weights) : null,
    byHead: weights ? joined(weights) : null,
  }
}

/** The text of each token that an expert holds, and of the rest of its word. */
export function heldTextsOf(layers: readonly LayerLook[], ids: Int32Array, texts: TokenTexts): Map<number, Piece> {
  const positions = layers.flatMap(({ experts }) => experts.flatMap(({ held }) => [...held]))
  const result = new Map<number, Piece>()
  const textOf = (position: number): Piece | undefined => (position < ids.length ? texts.at(ids, position) : undefined)
  for (const position of new Set(positions)) {
    const { start, end } = wholeWord(position, textOf)
    for (let at = start; at < end; at++) result.set(at, textOf(at)!)
  }
  return result
}

/** What the experts hold after a session's last token. */
export async function heldBy(session: Session, length: number, signal: AbortSignal): Promise<HeldNow> {
  const { layers } = await session.inspect({ signal })
  const held = layers.map(({ heldPositions }, layer) => ({ layer, held: heldPositions.map((positions) => Int32Array.from(positions)) }))
  return { length, layers: held.filter(({ held }) => held.length > 0), stateBytes: session.byteLength }
}

function mean(rows: readonly Float32Array[]): Float32Array {
  const result = new Float32Array(rows[0]?.length ?? 0)
  for (const row of rows) for (let i = 0; i < result.length; i++) result[i]! += row[i]! / rows.length
  return result
}

function joined(rows: readonly Float32Array[]): Float32Array {
  const length = rows[0]?.length ?? 0
  const result = new Float32Array(rows.length * length)
  rows.forEach((row, index) => result.set(row, index * length))
  return result
}
