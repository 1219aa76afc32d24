"""How much of what strangers wrote is taken into memory: all limits of the readers, and of the decoder."""

MIB = 1024 * 1024
MAX_ENCODED_BYTES = 256 * MIB  # of an image, a sample or a record: a larger one is no photograph, and is not read
MAX_LABEL_BYTES = MIB  # of a `.cls` or a `.json`
MAX_NAME_CHARS = 4096  # of a member of a tar file
MAX_EXTENDED_HEADER_BYTES = MIB  # of a tar file: a long name or PAX records
MAX_EXTENDED_HEADERS = 8  # that belong to one member
MAX_SAMPLE_MEMBERS = 1000  # of a tar file that make one sample; those behind them make another
MAX_FIELDS = 50_000  # of a `tf.train.Example`: a feature takes about five
MAX_ROWS_WITHOUT_BYTES = 1_000_000  # of a Parquet file: more of them than this and its bytes is no count of images
MAX_PIXELS = 120_000_000  # of an image
MAX_PIXELS_OF = {"WEBP": 24_000_000, "AVIF": 28_000_000}  # decoders that take 16 to 22 bytes for each
MAX_SCANNED_PIXELS = 16 * MAX_PIXELS  # of a JPEG, each scan counted: a few bytes can ask for one more scan of them all
