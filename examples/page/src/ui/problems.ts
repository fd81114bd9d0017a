import type { EngineError } from '../client.js'
import type { Source } from '../protocol.js'

/** Why a model could not be opened, for people who have not written it. */
export interface Problem {
  readonly what: string
  readonly advice: string
  /** What the engine says, for those who have. */
  readonly detail: string
}

const WHOLE = 'The folder must hold config.json, model.safetensors (or its shards with their index) and tokenizer.json.'
/** A list of tensors is cut there. */
const LONGEST_DETAIL = 400

export function problemOf({ code, message }: EngineError, source: Source): Problem {
  const detail = message.length > LONGEST_DETAIL ? `${message.slice(0, LONGEST_DETAIL)}…` : message
  const problem = (what: string, advice: string): Problem => ({ what, advice, detail })
  switch (code) {
    case 'NETWORK':
      return 'url' in source && new URL(source.url).origin !== location.origin
        ? problem(`No file came from ${new URL(source.url).host}.`, OTHER_ORIGIN)
        : problem('The model’s files did not come.', 'Trying again may help, when there is a connection.')
    case 'BAD_FILE':
      if (!/ lacks | cannot be read without /.test(message))
        return problem('A file of this model is broken.', 'It may have been cut off on its way: download or copy it again.')
      return 'url' in source
        ? problem('There is no whole model at this address.', `It must be the address of the folder itself. ${WHOLE}`)
        : problem('These files are not a whole model.', WHOLE)
    case 'BAD_CONFIG':
      return problem('This is another kind of model, or its config.json lacks something.', 'Only models of routed attention run here.')
    case 'BAD_WEIGHTS':
      return problem('The weights do not fit config.json.', 'They may be those of another model, or config.json states other sizes.')
    case 'NO_TOKENIZER':
      return problem('This model has no tokenizer.json.', 'If its tokens are bytes, say so by the check mark below, and open it again.')
    case 'BAD_ARGUMENT':
      if (message.includes("'bytes'"))
        return problem('The tokens of this model are no bytes.', 'Take the check mark away, and open it again.')
      break
    case 'OUT_OF_MEMORY':
      return problem('There is not enough memory for this model.', 'Closing other tabs may help; so does a model in 8 bits.')
  }
  return problem('This model could not be opened.', 'What it lacks is said below.')
}

const OTHER_ORIGIN =
  'Either it cannot be reached, or it does not let pages of other hosts read its files: for that it must send the header “Access-Control-Allow-Origin: *” with each. If that cannot be changed, download the folder and drop it on the Model tab.'
