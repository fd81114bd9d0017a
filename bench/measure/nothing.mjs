/* Node itself, for its memory. */
import { serve } from '../lib/serve.mjs'

serve({ open: () => ({}), nothing: () => 0 })
