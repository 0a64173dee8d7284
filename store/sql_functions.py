"""The functions that a user's query may call: they compute from their arguments and touch nothing else."""

# Aggregates, window functions, arithmetic, text, dates and JSON of SQLite and PostgreSQL. Left out on
# purpose: everything that reads files or settings, runs SQL from text (query_to_xml), sleeps, talks to
# other sessions, or makes long text out of short (repeat, lpad, printf, randomblob, zeroblob).
_NAMES = """
abs array_agg avg bool_and bool_or cast cbrt ceil ceiling char_length coalesce concat concat_ws corr
count covar_pop covar_samp cume_dist date date_part date_trunc datetime degrees dense_rank every exp
extract first_value floor glob greatest group_concat ifnull iif instr json json_agg json_array_elements
json_array_elements_text json_array_length json_each json_each_text json_extract json_extract_path
json_extract_path_text json_group_array json_group_object json_object_keys json_quote json_tree
json_type json_typeof json_valid julianday lag last_value lead least left length like ln log log10
log2 lower ltrim max min mod mode nth_value ntile nullif octet_length percent_rank percentile_cont
percentile_disc pi position pow power radians rank regr_intercept regr_r2 regr_slope right round
row_number rtrim sign sin cos tan sqrt stddev stddev_pop stddev_samp strftime string_agg strpos substr
substring sum time to_char total trim trunc typeof unicode unixepoch upper var_pop var_samp variance
width_bucket -> ->>
"""
ALLOWED_FUNCTIONS = frozenset(_NAMES.split())
