import { svg } from './dom.js'
import { EXPERT_COLOURS } from './attention.js'

export interface Source {
  readonly position: number
  /** Undefined if it is not in the document. */
  readonly token: HTMLElement | undefined
  readonly expert: number
  readonly share: number
}

/**
 * Curves from a token to what it read, in the colours of the experts. What lies above the visible text ends at its
 * place on the strip, which is as wide as the text's frame and right above it.
 * @param frame the element that scrolls
 * @param length tokens of the whole text
 */
export function drawArcs(layer: SVGSVGElement, from: HTMLElement, sources: readonly Source[], frame: HTMLElement, length: number): void {
  // all measuring before all drawing
  const origin = layer.parentElement!.getBoundingClientRect()
  const { top, bottom, left } = frame.getBoundingClientRect()
  const { paddingLeft, paddingRight } = getComputedStyle(frame)
  const inner = frame.clientWidth - parseFloat(paddingLeft) - parseFloat(paddingRight)
  const edge = top - origin.top
  const start = anchor(from, origin)
  const isSeen = start.top > edge && start.top < bottom - origin.top
  const ends = sources.map(({ token, position }) => {
    const end = token ? anchor(token, origin) : undefined
    if (end && end.bottom > edge) return end
    return { x: left + parseFloat(paddingLeft) + (position / length) * inner - origin.left, top: edge, bottom: edge }
  })
  const paths = sources.map(({ expert, share }, index) => {
    const end = ends[index]!
    return svg('path', {
      d: curve(start, end),
      class: 'arc',
      style: `--expert: var(--expert-${expert % EXPERT_COLOURS}); opacity: ${(0.25 + 0.65 * share).toFixed(2)}; stroke-width: ${(0.75 + 1.75 * share).toFixed(2)}`,
    })
  })
  layer.replaceChildren(...(isSeen ? paths : []))
}

interface Anchor {
  readonly x: number
  readonly top: number
  readonly bottom: number
}

function anchor(token: HTMLElement, origin: DOMRect): Anchor {
  // a token may be broken over two lines
  const { left, width, top, bottom } = token.getClientRects()[0] ?? token.getBoundingClientRect()
  return { x: left + width / 2 - origin.left, top: top - origin.top, bottom: bottom - origin.top }
}

function curve(start: Anchor, end: Anchor): string {
  if (Math.abs(start.top - end.top) < 4) {
    const height = Math.min(Math.abs(start.x - end.x) / 3, 28)
    return `M${start.x} ${start.top} C${start.x} ${start.top - height} ${end.x} ${end.top - height} ${end.x} ${end.top}`
  }
  const middle = (start.top + end.bottom) / 2
  return `M${start.x} ${start.top} C${start.x} ${middle} ${end.x} ${middle} ${end.x} ${end.bottom}`
}
