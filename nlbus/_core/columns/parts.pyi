from typing import final

@final
class Parts: ...
