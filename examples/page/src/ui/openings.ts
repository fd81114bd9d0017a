/** The opening for models that compute everything again for each token. */
export const SHORT = 1

/** Beginnings to choose from: public-domain prose, long enough that the experts have something to hold. */
export const OPENINGS: readonly { readonly name: string; readonly file?: string; readonly text?: string }[] = [
  { name: 'Treasure Island, its first pages', file: './texts/treasure-island-opening.txt' },
  { name: 'A short sentence', text: 'The old captain put down his glass, looked at the map, and' },
  {
    name: 'A letter',
    text: 'My dear sister,\n\nYou will have heard by now what happened at the ball, but I must tell you the truth of it, for',
  },
]
