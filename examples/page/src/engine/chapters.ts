import type { Chapter, Piece } from '../protocol.js'

/** Longer lines are no headings. */
const LONGEST_HEADING = 80
/** Characters of a line that are looked at. */
const LONGEST_LINE = 240
const NAMED = /^(?:chapter|part|book|letter|volume|canto|act|scene|prologue|epilogue|introduction|preface|conclusion)\b.*$/i
/** A number alone on its line, as a numeral or in Roman, perhaps with a title behind it. */
const NUMBERED = /^(?:\d{1,3}|[IVXLC]{1,7})(?:[.:]?$|[.:]\s+\p{Lu}.*$)/u

/** Tokens after its heading from which a chapter stays: it is no part of a table of contents. */
export const SURE_AFTER = 1000
/** A line of a table of contents: dots lead to a page's number. */
const LEADER = /(?:\.\s*){5,}\d/

/** Finds the headings of chapters in a text that arrives token by token. */
export class ChapterFinder {
  readonly chapters: Chapter[] = []
  #line = ''
  #lineStart = 0
  #isAfterBlank = true
  /** A heading whose title may stand on the next line that is not empty. */
  #untitled: { title: string; start: number } | undefined

  /** @param start position of the first token */
  add(texts: readonly Piece[], start: number): void {
    texts.forEach((text, index) => {
      if (typeof text !== 'string') return
      const parts = text.split('\n')
      parts.forEach((part, i) => {
        if (i > 0) this.#endLine(start + index)
        // the heading's first visible character tells where it begins
        if (this.#line.trim() === '' && part.trim() !== '') this.#lineStart = start + index
        if (this.#line.length <= LONGEST_LINE) this.#line += part
      })
    })
  }

  #endLine(next: number): void {
    const line = this.#line.trim()
    this.#line = ''
    if (line === '') {
      this.#isAfterBlank = true
      return
    }
    if (LEADER.test(line)) {
      // what is above it, as the title of a part, is listed there too
      this.#untitled = undefined
      if (this.#isContentsAt(this.#lineStart)) this.chapters.pop()
    } else if (this.#untitled) {
      const { title, start } = this.#untitled
      this.#untitled = undefined
      // a title is short and has no verb's full stop
      this.#add(line.length <= LONGEST_HEADING && !/[.,;]$/.test(line) ? `${title}. ${line}` : title, start)
    } else if (this.#isAfterBlank && line.length <= LONGEST_HEADING && (NAMED.test(line) || NUMBERED.test(line))) {
      const isBare = /^(?:chapter\s+|letter\s+)?[\divxlc]+[.:]?$/i.test(line)
      if (isBare) this.#untitled = { title: line.replace(/[.:]$/, ''), start: this.#lineStart }
      else this.#add(line, this.#lineStart)
    }
    this.#isAfterBlank = false
    this.#lineStart = next
  }

  #isContentsAt(position: number): boolean {
    const last = this.chapters.at(-1)
    return last !== undefined && position - last.start < SURE_AFTER
  }

  #add(title: string, start: number): void {
    this.chapters.push({ title, start })
  }
}
